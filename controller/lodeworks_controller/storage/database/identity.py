"""Users and their bearer tokens, in SQL."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    RowMapping,
    String,
    Table,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from lodeworks_controller.domain.identity import InstallationRole, Token, User
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, metadata
from lodeworks_controller.storage.database.upsert import insert_new

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("secret_hash", Digest, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Index(None, "user_id", "id"),
)

_BY_HASH = prepared(
    select(
        tokens,
        users.c.name.label("user_name"),
        users.c.role.label("user_role"),
        users.c.created_at.label("user_created_at"),
        users.c.disabled_at.label("user_disabled_at"),
    )
    .join_from(tokens, users, users.c.id == tokens.c.user_id)
    .where(tokens.c.secret_hash == bindparam("secret_hash"))
)


class SqlUserRows:
    """The users on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, user_id: str) -> User:
        """Returns a user, or raises NotFoundError USER_NOT_FOUND."""
        row = (await self._connection.execute(select(users).where(users.c.id == user_id))).mappings().one_or_none()
        return _user(row, user_id)

    async def find(self, name_or_id: str) -> User:
        """Returns the user of that name or id, or raises NotFoundError USER_NOT_FOUND."""
        # A name may look like an id; the user of that name is meant then.
        either = or_(users.c.name == name_or_id, users.c.id == name_or_id)
        query = select(users).where(either).order_by(users.c.name != name_or_id)
        return _user((await self._connection.execute(query)).mappings().first(), name_or_id)

    async def add(self, user: User) -> None:
        """Stores a new user, or raises ExistsError USER_EXISTS."""
        if not (await self._connection.execute(insert_new(users), {**asdict(user), "role": user.role.value})).rowcount:
            message = f"there is a user {user.name} already; choose another name"
            raise ExistsError("USER_EXISTS", message, name=user.name)

    async def put(self, user: User) -> None:
        """Stores a user that changed."""
        changed = {"role": user.role.value, "disabled_at": user.disabled_at}
        await self._connection.execute(update(users).where(users.c.id == user.id).values(changed))

    async def list(self, *, after_name: str, limit: int) -> Sequence[User]:
        """Returns users by name."""
        query = select(users).where(users.c.name > after_name).order_by(users.c.name).limit(limit)
        return [_user(row, "") for row in (await self._connection.execute(query)).mappings()]

    async def count_administrators(self) -> int:
        """Returns how many administrators have access."""
        query = select(func.count()).where(
            users.c.role == InstallationRole.ADMINISTRATOR.value, users.c.disabled_at.is_(None)
        )
        return int((await self._connection.execute(query)).scalar_one())


class SqlTokenRows:
    """The bearer tokens on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, token_id: str) -> Token:
        """Returns a token, or raises NotFoundError TOKEN_NOT_FOUND."""
        query = select(tokens).where(tokens.c.id == token_id)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError("TOKEN_NOT_FOUND", f"there is no token {token_id}", token=token_id)
        return Token(**row)

    async def by_hash(self, secret_hash: str) -> tuple[Token, User] | None:
        """Returns the token with this hash and its owner."""
        row = (await self._connection.execute(_BY_HASH, {"secret_hash": secret_hash})).mappings().one_or_none()
        if row is None:
            return None
        values: dict[str, Any] = dict(row)
        user = User(
            id=values["user_id"],
            name=values.pop("user_name"),
            role=InstallationRole(values.pop("user_role")),
            created_at=values.pop("user_created_at"),
            disabled_at=values.pop("user_disabled_at"),
        )
        return Token(**values), user

    async def add(self, token: Token) -> None:
        """Stores a new token."""
        await self._connection.execute(insert(tokens), asdict(token))

    async def put(self, token: Token) -> None:
        """Stores a token that changed."""
        changed = {"revoked_at": token.revoked_at, "last_used_at": token.last_used_at}
        await self._connection.execute(update(tokens).where(tokens.c.id == token.id).values(changed))

    async def list(self, user_id: str, *, before_id: str, limit: int) -> Sequence[Token]:
        """Returns a user's tokens that are not revoked, newest first."""
        query = select(tokens).where(tokens.c.user_id == user_id, tokens.c.revoked_at.is_(None))
        if before_id:
            query = query.where(tokens.c.id < before_id)
        query = query.order_by(tokens.c.id.desc()).limit(limit)
        return [Token(**row) for row in (await self._connection.execute(query)).mappings()]


def _user(row: RowMapping | None, wanted: str) -> User:
    if row is None:
        raise NotFoundError("USER_NOT_FOUND", f"there is no user {wanted}; see `lode user ls`", user=wanted)
    return User(**{**row, "role": InstallationRole(row["role"])})
