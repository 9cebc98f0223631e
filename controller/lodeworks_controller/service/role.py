"""The leases of background roles: each role is one controller's at a time, and its epoch fences what it writes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.store import Store, Transaction

ROLES = ("placer", "reaper", "finisher", "cron", "outbox", "collector", "releaser", "signer")
"""What is done by one controller for all."""


@dataclass(frozen=True, slots=True)
class RoleLease:
    """Who has a role.

    Attributes:
        role: Its name.
        holder: Id of the start of a controller; empty for nobody.
        holder_name: Name of that controller, for people.
        epoch: Grows with each new holder.
        expires_at: When anybody may take it.
    """

    role: str
    holder: str
    holder_name: str
    epoch: int
    expires_at: datetime


class RoleRows(Protocol):
    """The leases of roles, as one transaction sees them."""

    async def take(self, role: str, *, holder: str, holder_name: str, until: datetime) -> int | None:
        """Takes a role that is free or expired; returns its new epoch, None if another has it."""
        ...

    async def renew(self, holder: str, *, until: datetime) -> Mapping[str, int]:
        """Renews all leases of a holder; returns role → epoch of those that it has."""
        ...

    async def give_back(self, holder: str) -> int:
        """Ends all leases of a holder at once; returns how many."""
        ...

    async def holds(self, role: str, *, holder: str, epoch: int) -> bool:
        """Says whether the lease of that epoch still stands; it does until the unit of work ends."""
        ...

    async def list(self) -> Sequence[RoleLease]:
        """Returns the leases by role."""
        ...


class RoleLostError(ConflictError):
    """Another controller has taken the role over; what was begun in it is dropped."""

    def __init__(self, role: str) -> None:
        super().__init__("ROLE_LOST", f"another controller is the {role} now; what was begun is left to it", role=role)


class Role(Protocol):
    """One role, seen by what works in it."""

    @property
    def held(self) -> bool:
        """Whether it is this controller's now."""
        ...

    @property
    def held_since_s(self) -> float:
        """Since when, in seconds of the running loop's clock; 0 for always."""
        ...

    async def check(self, tx: Transaction) -> None:
        """Raises RoleLostError unless the role is this controller's until the unit of work ends."""
        ...


class SoleRole:
    """A role of the only controller of an installation, who holds the lock of its state folder."""

    held = True
    held_since_s = 0.0

    async def check(self, tx: Transaction) -> None:
        """Does nothing: there is nobody else."""


class FencedStore:
    """A store whose units of work are refused once the role has passed to another controller.

    Args:
        store: The store.
        role: In which role it is written.
    """

    def __init__(self, store: Store, role: Role) -> None:
        self._store = store
        self._role = role

    @asynccontextmanager
    async def transaction(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[Transaction]:
        """Opens a unit of work that may write, in the role."""
        async with self._store.transaction(brief=brief, heartbeat=heartbeat) as tx:
            await self._role.check(tx)
            yield tx

    def snapshot(self, *, brief: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Opens a unit of work that only reads."""
        return self._store.snapshot(brief=brief)
