"""People and their bearer tokens."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from lodeworks_controller.domain.identity import (
    InstallationRole,
    Principal,
    Token,
    User,
    check_name,
    hash_secret,
)
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.store import Store, Transaction

Secrets = Callable[[str], str]
"""Returns the secret of a token id; the same one each time, so that a repeated request gets what the first one got.

Nobody without the installation's key can compute it, and the database holds only its hash.
"""

USE_NOTED_AFTER: Final = timedelta(minutes=5)
"""How old the noted last use of a token may become; a write per call would cost more than the news is worth."""

_REMEMBERED: Final = timedelta(seconds=1)
"""How long a token counts that another controller has revoked; one revoked here ends at once."""
_MOST_REMEMBERED: Final = 10_000
_LONGEST_NAME: Final = 100


class UserRows(Protocol):
    """The users as one transaction sees them. No method commits."""

    async def get(self, user_id: str) -> User:
        """Returns a user, or raises NotFoundError USER_NOT_FOUND."""
        ...

    async def find(self, name_or_id: str) -> User:
        """Returns the user of that name or id, or raises NotFoundError USER_NOT_FOUND."""
        ...

    async def add(self, user: User) -> None:
        """Stores a new user, or raises ExistsError USER_EXISTS."""
        ...

    async def put(self, user: User) -> None:
        """Stores a user that changed."""
        ...

    async def list(self, *, after_name: str, limit: int) -> Sequence[User]:
        """Returns users by name."""
        ...

    async def count_administrators(self) -> int:
        """Returns how many administrators have access."""
        ...


class TokenRows(Protocol):
    """The bearer tokens as one transaction sees them. No method commits."""

    async def get(self, token_id: str) -> Token:
        """Returns a token, or raises NotFoundError TOKEN_NOT_FOUND."""
        ...

    async def by_hash(self, secret_hash: str) -> tuple[Token, User] | None:
        """Returns the token with this hash and its owner."""
        ...

    async def add(self, token: Token) -> None:
        """Stores a new token."""
        ...

    async def put(self, token: Token) -> None:
        """Stores a token that changed."""
        ...

    async def list(self, user_id: str, *, before_id: str, limit: int) -> Sequence[Token]:
        """Returns a user's tokens that are not revoked, newest first."""
        ...


class IdentityService:
    """Knows people by their tokens, and lets administrators say who they are."""

    def __init__(self, store: Store, *, ids: Ids, secrets: Secrets) -> None:
        self._store = store
        self._ids = ids
        self._secrets = secrets
        self._lately: dict[str, tuple[datetime, tuple[Token, User]]] = {}

    async def authenticate(self, secret: str) -> Principal:
        """Returns who holds a bearer token, or raises UnauthenticatedError TOKEN_INVALID."""
        found, now = await self._token(hash_secret(secret))
        if found is None or not found[0].is_valid(at=now) or found[1].disabled_at is not None:
            raise UnauthenticatedError("TOKEN_INVALID", "the token is unknown, revoked or expired; log in again")
        token, user = found
        if token.last_used_at is None or now - token.last_used_at > USE_NOTED_AFTER:
            async with self._store.transaction() as tx:
                await tx.tokens.put(replace(await tx.tokens.get(token.id), last_used_at=now))
                tx.on_commit(self._lately.clear)
        return Principal(user.id, user.name, user.role)

    async def _token(self, secret_hash: str) -> tuple[tuple[Token, User] | None, datetime]:
        """Returns a token and its owner as they were at most a second ago, and the time."""
        async with self._store.snapshot(brief=True) as tx:
            now = tx.now()
            kept = self._lately.get(secret_hash)
            if kept is not None and timedelta() <= now - kept[0] < _REMEMBERED:
                return kept[1], now
            found = await tx.tokens.by_hash(secret_hash)
        if len(self._lately) >= _MOST_REMEMBERED:
            self._lately.clear()
        if found is not None:
            self._lately[secret_hash] = (now, found)
        return found, now

    async def who_am_i(self, principal: Principal) -> User:
        """Returns the caller's account."""
        async with self._store.snapshot() as tx:
            return await tx.users.get(principal.user_id)

    async def bootstrap(self, name: str) -> tuple[User, str]:
        """Makes the first administrator with a token; called by ``lode-controller init``. Harmless to repeat.

        The name's token is the same each time as long as it is not revoked.
        """
        async with self._store.transaction() as tx:
            once = Once("installation", "identity.bootstrap", name)
            made = await once.result(tx)
            if made is not None:
                token = await tx.tokens.get(made)
                return await tx.users.get(token.user_id), self._secrets(token.id)
            user = User(self._ids(), check_name(name), InstallationRole.ADMINISTRATOR, created_at=tx.now())
            await tx.users.add(user)
            token = await self._add_token(tx, user.id, name="first", expires_at=None)
            await once.keep(tx, token.id)
            await tx.audit.add("user.create", user.id, detail={"name": name, "role": user.role.value})
            return user, self._secrets(token.id)

    async def create_user(
        self, principal: Principal, name: str, *, role: InstallationRole, request_id: str
    ) -> tuple[User, str]:
        """Adds a user; returns it with the secret of its first token. Administrators only."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "identity.create_user", request_id)
            made = await once.result(tx)
            if made is not None:
                token = await tx.tokens.get(made)
                return await tx.users.get(token.user_id), self._secrets(token.id)
            user = User(self._ids(), check_name(name), role, created_at=tx.now())
            await tx.users.add(user)
            token = await self._add_token(tx, user.id, name="first", expires_at=None)
            await once.keep(tx, token.id)
            await tx.audit.add("user.create", user.id, actor=principal.actor, detail={"name": name, "role": role.value})
            return user, self._secrets(token.id)

    async def list_users(self, principal: Principal, *, after_name: str, limit: int) -> Sequence[User]:
        """Returns users by name. Administrators only."""
        require_administrator(principal)
        async with self._store.snapshot() as tx:
            return await tx.users.list(after_name=after_name, limit=limit)

    async def set_role(self, principal: Principal, name_or_id: str, *, role: InstallationRole) -> User:
        """Changes what a user may do outside projects. Administrators only; repeating it is harmless."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            user = await tx.users.find(name_or_id)
            if user.role is role:
                return user
            if user.role is InstallationRole.ADMINISTRATOR:
                await self._keep_an_administrator(tx, user)
            user = replace(user, role=role)
            await tx.users.put(user)
            tx.on_commit(self._lately.clear)
            await tx.audit.add("user.set_role", user.id, actor=principal.actor, detail={"role": role.value})
            return user

    async def disable(self, principal: Principal, name_or_id: str) -> User:
        """Takes away a user's access. Administrators only; repeating it is harmless."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            user = await tx.users.find(name_or_id)
            if user.disabled_at is not None:
                return user
            if user.role is InstallationRole.ADMINISTRATOR:
                await self._keep_an_administrator(tx, user)
            user = replace(user, disabled_at=tx.now())
            await tx.users.put(user)
            tx.on_commit(self._lately.clear)
            await tx.audit.add("user.disable", user.id, actor=principal.actor)
            return user

    async def create_token(
        self, principal: Principal, name: str, *, lifetime: timedelta | None, request_id: str
    ) -> tuple[Token, str]:
        """Makes a token for the caller; returns it with its secret."""
        if not 0 < len(name) <= _LONGEST_NAME:
            raise InvalidError("NAME_INVALID", f"say in 1 to {_LONGEST_NAME} characters what it is for", field="name")
        if lifetime is not None and lifetime <= timedelta(0):
            raise InvalidError("LIFETIME_INVALID", "a token lives for more than no time", field="lifetime")
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "identity.create_token", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.tokens.get(made), self._secrets(made)
            expires_at = None if lifetime is None else _end(tx.now(), lifetime)
            token = await self._add_token(tx, principal.user_id, name=name, expires_at=expires_at)
            await once.keep(tx, token.id)
            await tx.audit.add("token.create", token.id, actor=principal.actor, detail={"name": name})
            return token, self._secrets(token.id)

    async def list_tokens(self, principal: Principal, *, before_id: str, limit: int) -> Sequence[Token]:
        """Returns the caller's tokens, newest first."""
        async with self._store.snapshot() as tx:
            return await tx.tokens.list(principal.user_id, before_id=before_id, limit=limit)

    async def revoke_token(self, principal: Principal, token_id: str) -> None:
        """Ends a token of the caller; administrators end anybody's. Repeating it is harmless."""
        async with self._store.transaction() as tx:
            token = await tx.tokens.get(token_id)
            if token.user_id != principal.user_id and not principal.is_administrator:
                raise NotFoundError("TOKEN_NOT_FOUND", f"you have no token {token_id}", token=token_id)
            if token.revoked_at is None:
                await tx.tokens.put(replace(token, revoked_at=tx.now()))
                tx.on_commit(self._lately.clear)
                await tx.audit.add("token.revoke", token_id, actor=principal.actor)

    async def _add_token(self, tx: Transaction, user_id: str, *, name: str, expires_at: datetime | None) -> Token:
        token_id = self._ids()
        token = Token(
            id=token_id,
            user_id=user_id,
            name=name,
            secret_hash=hash_secret(self._secrets(token_id)),
            created_at=tx.now(),
            expires_at=expires_at,
        )
        await tx.tokens.add(token)
        return token

    async def _keep_an_administrator(self, tx: Transaction, user: User) -> None:
        if user.disabled_at is None and await tx.users.count_administrators() < 2:  # noqa: PLR2004 - one besides this
            raise ConflictError(
                "LAST_ADMINISTRATOR", f"{user.name} is the last administrator; name another administrator first"
            )


def _end(now: datetime, lifetime: timedelta) -> datetime:
    try:
        return now + lifetime
    except OverflowError:
        raise InvalidError("LIFETIME_INVALID", "a token cannot live that long", field="lifetime") from None
