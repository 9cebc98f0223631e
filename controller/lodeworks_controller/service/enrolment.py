"""Enrolment: a one-time token becomes a certificate, a certificate becomes a newer one."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from lodeworks_controller.domain.identity import (
    Agent,
    AgentIdentity,
    AgentKind,
    EnrolmentToken,
    Principal,
    check_name,
    hash_secret,
)
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.worker import Worker
from lodeworks_controller.errors import InvalidError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.identity import Secrets
from lodeworks_controller.service.store import Store, Transaction

WORKER_TOKEN_LIFETIME: Final = timedelta(hours=1)
DEVICE_TOKEN_LIFETIME: Final = timedelta(days=1)
_LONGEST_LIFETIME: Final = timedelta(days=90)

Admission = Callable[[Transaction, AgentIdentity, str], Awaitable[None]]
"""Notes on the agent's own row that it enrolled, and its hostname; runs in the unit of work of the enrolment."""


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that the authority signed.

    Attributes:
        pem: The certificate.
        serial: Its serial number in hex.
        key_id: sha256 of its public key (SubjectPublicKeyInfo), hex.
        expires_at: Its end.
    """

    pem: bytes
    serial: str
    key_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A certificate of ours that somebody showed together with proof of its key; it may have ended."""

    identity: AgentIdentity
    key_id: str


class Authority(Protocol):
    """Signs certificates of agents."""

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        ...

    def key_id(self, csr_pem: bytes) -> str:
        """Returns the sha256 of the key in a signing request; raises InvalidError CSR_INVALID."""
        ...

    def sign(self, csr_pem: bytes, identity: AgentIdentity) -> IssuedCertificate:
        """Issues a certificate for the key of a signing request; raises InvalidError CSR_INVALID."""
        ...

    def prove(self, certificate_pem: bytes, *, message: bytes, signature: bytes) -> ShownCertificate:
        """Checks that we issued the certificate and that its key signed the message.

        Raises UnauthenticatedError PROOF_INVALID.
        """
        ...


class AgentRows(Protocol):
    """Agents and their one-time tokens as one transaction sees them. No method commits."""

    async def get(self, identity: AgentIdentity) -> Agent | None:
        """Returns an agent that was announced, or None."""
        ...

    async def put(self, agent: Agent) -> None:
        """Stores an agent, new or changed."""
        ...

    async def revoked(self) -> frozenset[AgentIdentity]:
        """Returns all whose certificates were ended while one might still be valid."""
        ...

    async def add_token(self, token: EnrolmentToken) -> None:
        """Stores a new one-time token."""
        ...

    async def put_token(self, token: EnrolmentToken) -> None:
        """Stores a token that was used."""
        ...

    async def token_by_hash(self, secret_hash: str) -> EnrolmentToken | None:
        """Returns the token with this hash."""
        ...

    async def newest_token(self, identity: AgentIdentity) -> EnrolmentToken | None:
        """Returns the token that an agent was announced with last."""
        ...


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new agent is given."""

    agent: Agent
    certificate: IssuedCertificate


class Revocations:
    """The agents whose certificates no longer count; asked at every call, so kept in memory.

    With one controller the memory is exact; with several, `load` runs now and then.
    """

    def __init__(self) -> None:
        self._revoked = frozenset[AgentIdentity]()
        self._added = 0

    async def load(self, store: Store) -> None:
        """Reads them anew."""
        added = self._added
        async with store.snapshot() as tx:
            revoked = await tx.agents.revoked()
        if added == self._added:  # else what was read may be older than what was added
            self._revoked = revoked

    def add(self, identity: AgentIdentity) -> None:
        """Adds one; called when its revocation is durable."""
        self._revoked |= {identity}
        self._added += 1

    def require_good(self, identity: AgentIdentity) -> None:
        """Refuses an agent whose certificates were ended."""
        if identity in self._revoked:
            raise _revoked(identity)


class EnrolmentService:
    """Announces agents, certifies them, and ends their certificates.

    Args:
        store: Units of work.
        authority: Who signs.
        admissions: What an enrolment means to each kind of agent.
        revocations: Whose certificates no longer count.
        ids: New ids.
        secrets: Secrets of one-time tokens by their ids.
    """

    def __init__(
        self,
        store: Store,
        *,
        authority: Authority,
        admissions: Mapping[AgentKind, Admission],
        revocations: Revocations,
        ids: Ids,
        secrets: Secrets,
    ) -> None:
        self._store = store
        self._authority = authority
        self._admissions = admissions
        self._revocations = revocations
        self._ids = ids
        self._secrets = secrets

    @property
    def authority_pem(self) -> bytes:
        """The authority's certificate."""
        return self._authority.certificate_pem

    async def announce(self, tx: Transaction, identity: AgentIdentity, *, name: str, lifetime: timedelta) -> str:
        """Lets an agent enrol once, inside the caller's unit of work; returns its one-time token."""
        if not timedelta(0) < lifetime <= _LONGEST_LIFETIME:
            raise InvalidError(
                "LIFETIME_INVALID",
                f"a one-time token lives for at most {_LONGEST_LIFETIME.days} days",
                field="lifetime",
            )
        token_id = self._ids()
        secret = self._secrets(token_id)
        if await tx.agents.get(identity) is None:
            await tx.agents.put(Agent(identity, name, created_at=tx.now()))
        token = EnrolmentToken(token_id, identity, hash_secret(secret), tx.now(), expires_at=tx.now() + lifetime)
        await tx.agents.add_token(token)
        return secret

    async def announced(self, tx: Transaction, identity: AgentIdentity) -> str:
        """Returns the one-time token of an agent again, for a caller who repeats the request that announced it."""
        token = await tx.agents.newest_token(identity)
        if token is None:
            raise NotFoundError("TOKEN_NOT_FOUND", f"{identity.kind.value} {identity.id} was never announced")
        return self._secrets(token.id)

    async def enrol(self, kind: AgentKind, secret: str, *, csr_pem: bytes, hostname: str) -> Enrolled:
        """Trades a one-time token for a certificate. Repeating it with the same key is harmless until it expires.

        Raises UnauthenticatedError TOKEN_INVALID, InvalidError CSR_INVALID.
        """
        key_id = self._authority.key_id(csr_pem)
        async with self._store.transaction() as tx:
            token = await tx.agents.token_by_hash(hash_secret(secret))
            if token is None or token.identity.kind is not kind or not token.is_good_for(key_id, at=tx.now()):
                raise UnauthenticatedError(
                    "TOKEN_INVALID",
                    f"the one-time token is unknown, used or expired; make a new one with `lode {kind.value} add`",
                )
            agent = await tx.agents.get(token.identity)
            if agent is None or agent.revoked_at is not None:
                raise _revoked(token.identity)
            certificate = self._authority.sign(csr_pem, token.identity)
            agent = _certified(agent, certificate)
            await tx.agents.put(agent)
            if not token.used_key_id:
                await tx.agents.put_token(replace(token, used_key_id=key_id))
                await self._admissions[kind](tx, token.identity, hostname)
                await tx.audit.add(f"{kind.value}.enrol", token.identity.id, actor=token.identity.actor)
        return Enrolled(agent, certificate)

    async def renew(
        self, kind: AgentKind, *, certificate_pem: bytes, csr_pem: bytes, message: bytes, signature: bytes
    ) -> IssuedCertificate:
        """Trades proof of an enrolled key for a fresh certificate, also after the old one has ended.

        The newest key counts and the one before it, as the reply that told the newest may be lost. A replayed request
        yields a certificate for a key that only the agent has.

        Raises UnauthenticatedError PROOF_INVALID, PermissionDeniedError CERTIFICATE_REVOKED, InvalidError CSR_INVALID.
        """
        shown = self._authority.prove(certificate_pem, message=message, signature=signature)
        async with self._store.transaction() as tx:
            agent = await tx.agents.get(shown.identity)
            if agent is None or agent.revoked_at is not None:
                raise _revoked(shown.identity)
            if shown.identity.kind is not kind or shown.key_id not in {agent.key_id, agent.previous_key_id}:
                raise UnauthenticatedError("PROOF_INVALID", "the signature does not fit the key on record; enrol again")
            certificate = self._authority.sign(csr_pem, shown.identity)
            await tx.agents.put(_certified(agent, certificate, shown_key_id=shown.key_id))
            await tx.audit.add(f"{kind.value}.renew", shown.identity.id, actor=shown.identity.actor)
        return certificate

    async def revoke(self, tx: Transaction, identity: AgentIdentity) -> None:
        """Ends an agent's certificates, inside the caller's unit of work. Repeating it is harmless."""
        agent = await tx.agents.get(identity)
        if agent is not None and agent.revoked_at is None:
            await tx.agents.put(replace(agent, revoked_at=tx.now()))
        tx.on_commit(lambda: self._revocations.add(identity))

    async def add_worker(
        self, principal: Principal, name: str, *, labels: Mapping[str, str], lifetime: timedelta, request_id: str
    ) -> tuple[Worker, str]:
        """Announces a worker; returns it with its one-time token. Administrators only."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "worker.add", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.workers.get(made), await self.announced(tx, AgentIdentity(AgentKind.WORKER, made))
            worker = Worker(self._ids(), check_name(name), created_at=tx.now(), labels=dict(labels))
            await tx.workers.insert(worker)
            identity = AgentIdentity(AgentKind.WORKER, worker.id)
            secret = await self.announce(tx, identity, name=name, lifetime=lifetime)
            await once.keep(tx, worker.id)
            await tx.audit.add("worker.add", worker.id, actor=principal.actor, detail={"name": name})
            return worker, secret


async def admit_worker(tx: Transaction, identity: AgentIdentity, hostname: str) -> None:
    """Notes on a worker's row that it enrolled."""
    worker = await tx.workers.get(identity.id)
    await tx.workers.put(replace(worker, enrolled=True, hostname=hostname))


def _certified(agent: Agent, certificate: IssuedCertificate, *, shown_key_id: str = "") -> Agent:
    return agent.certified(
        key_id=certificate.key_id,
        serial=certificate.serial,
        expires_at=certificate.expires_at,
        shown_key_id=shown_key_id,
    )


def _revoked(identity: AgentIdentity) -> PermissionDeniedError:
    return PermissionDeniedError(
        "CERTIFICATE_REVOKED",
        f"the certificates of {identity.kind.value} {identity.id} were ended; have it added again and enrol",
        agent=identity.uri,
    )
