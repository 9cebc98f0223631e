"""Agents and their one-time tokens, in SQL."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Index, RowMapping, String, Table, and_, insert, select, update

from lodeworks_controller.domain.identity import Agent, AgentIdentity, AgentKind, EnrolmentToken
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, metadata
from lodeworks_controller.storage.database.upsert import insert_or_put

agents = Table(
    "agents",
    metadata,
    Column("kind", String(10), primary_key=True),
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("previous_key_id", String(64), nullable=False),
    Column("certificate_serial", String(40), nullable=False),
    Column("certificate_expires_at", Instant),
    Column("revoked_at", Instant),
)

enrolment_tokens = Table(
    "enrolment_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_kind", String(10), nullable=False),
    Column("agent_id", Id, nullable=False),
    Column("secret_hash", Digest, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_key_id", String(64), nullable=False),
    ForeignKeyConstraint(["agent_kind", "agent_id"], ["agents.kind", "agents.id"]),
    Index(None, "agent_kind", "agent_id", "id"),
)


class SqlAgentRows:
    """The agents on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def get(self, identity: AgentIdentity) -> Agent | None:
        """Returns an agent that was announced, or None."""
        query = select(agents).where(agents.c.kind == identity.kind.value, agents.c.id == identity.id)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        rest = {key: value for key, value in row.items() if key not in {"kind", "id"}}
        return Agent(identity=identity, **rest)

    async def put(self, agent: Agent) -> None:
        """Stores an agent, new or changed."""
        row: dict[str, Any] = asdict(agent)
        del row["identity"]
        statement = insert_or_put(agents, keys=("kind", "id"), values=row)
        await self._connection.execute(statement, {**row, "kind": agent.identity.kind.value, "id": agent.identity.id})

    async def revoked(self) -> frozenset[AgentIdentity]:
        """Returns all whose certificates were ended while one might still be valid."""
        query = select(agents.c.kind, agents.c.id).where(
            and_(agents.c.revoked_at.is_not(None), agents.c.certificate_expires_at > self._now)
        )
        rows = (await self._connection.execute(query)).mappings()
        return frozenset(AgentIdentity(AgentKind(row["kind"]), row["id"]) for row in rows)

    async def add_token(self, token: EnrolmentToken) -> None:
        """Stores a new one-time token."""
        row: dict[str, Any] = asdict(token)
        del row["identity"]
        agent = {"agent_kind": token.identity.kind.value, "agent_id": token.identity.id}
        await self._connection.execute(insert(enrolment_tokens), row | agent)

    async def put_token(self, token: EnrolmentToken) -> None:
        """Stores a token that was used."""
        used = update(enrolment_tokens).where(enrolment_tokens.c.id == token.id)
        await self._connection.execute(used.values(used_key_id=token.used_key_id))

    async def token_by_hash(self, secret_hash: str) -> EnrolmentToken | None:
        """Returns the token with this hash."""
        query = select(enrolment_tokens).where(enrolment_tokens.c.secret_hash == secret_hash)
        return _token((await self._connection.execute(query)).mappings().one_or_none())

    async def newest_token(self, identity: AgentIdentity) -> EnrolmentToken | None:
        """Returns the token that an agent was announced with last."""
        query = (
            select(enrolment_tokens)
            .where(
                enrolment_tokens.c.agent_kind == identity.kind.value,
                enrolment_tokens.c.agent_id == identity.id,
            )
            .order_by(enrolment_tokens.c.id.desc())
            .limit(1)
        )
        return _token((await self._connection.execute(query)).mappings().first())


def _token(row: RowMapping | None) -> EnrolmentToken | None:
    if row is None:
        return None
    values: dict[str, Any] = dict(row)
    identity = AgentIdentity(AgentKind(values.pop("agent_kind")), values.pop("agent_id"))
    return EnrolmentToken(identity=identity, **values)
