"""Who does what is done by one controller for all: the leases of roles, kept, lost and handed over.

A lease is renewed each second and lasts four. So when a controller dies, another has its roles five seconds later at
most; one that stops in good order gives them back at once. A controller that cannot renew stops by its own clock before
its lease ends, and what it began is refused by the role's epoch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.errors import LodeworksError
from lodeworks_controller.service.role import ROLES, FencedStore, Role, RoleLostError, SoleRole
from lodeworks_controller.service.store import Store, Transaction

_log = logging.getLogger(__name__)

_TTL_S = 4.0
_RENEW_S = 1.0
_MARGIN_S = 0.5
"""How much before the end of its lease a holder stops: what it asks of the database then would come too late."""


class Roles(Protocol):
    """The roles of one controller."""

    def role(self, name: str) -> Role:
        """Returns a role."""
        ...

    def store(self, name: str) -> Store:
        """Returns the store through which the role's work writes."""
        ...

    async def start(self, ticks: Ticks) -> None:
        """Takes what is free now, and keeps looking with the clockwork."""
        ...

    async def give_back(self) -> None:
        """Gives all roles to whoever wants them."""
        ...


class SoleRoles:
    """The roles of the only controller of an installation.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def role(self, name: str) -> Role:
        """Returns a role, which is held."""
        del name
        return SoleRole()

    def store(self, name: str) -> Store:
        """Returns the store."""
        del name
        return self._store

    async def start(self, ticks: Ticks) -> None:
        """Does nothing: nobody else wants them."""

    async def give_back(self) -> None:
        """Does nothing."""


class _HeldRole:
    """One role of a controller among several."""

    def __init__(self, name: str, *, holder: str) -> None:
        self._name = name
        self._holder = holder
        self._epoch = 0
        self._until_s = 0.0
        self.held_since_s = 0.0

    @property
    def held(self) -> bool:
        """Whether it is this controller's now."""
        return asyncio.get_running_loop().time() < self._until_s

    async def check(self, tx: Transaction) -> None:
        """Raises RoleLostError unless the role is this controller's until the unit of work ends."""
        if not self.held or not await tx.roles.holds(self._name, holder=self._holder, epoch=self._epoch):
            raise RoleLostError(self._name)

    def keep(self, epoch: int, *, until_s: float) -> None:
        """Notes a lease that was renewed or taken."""
        if epoch != self._epoch:
            self.held_since_s = asyncio.get_running_loop().time()
            _log.info("this controller is the %s now (epoch %d)", self._name, epoch)
        self._epoch = epoch
        self._until_s = until_s

    def drop(self) -> None:
        """Notes that it is another's, or nobody's."""
        if self._until_s:
            _log.info("this controller is no longer the %s", self._name)
        self._epoch, self._until_s = 0, 0.0


class LeasedRoles:
    """The roles of one controller among several.

    Args:
        store: The database that they share.
        holder: Id of this start of this controller.
        holder_name: Its name, for people.
        names: All roles; a controller takes each that is free.
        ttl_s: How long a lease lasts.
    """

    def __init__(
        self, store: Store, *, holder: str, holder_name: str, names: Iterable[str] = ROLES, ttl_s: float = _TTL_S
    ) -> None:
        self._store = store
        self._holder = holder
        self._holder_name = holder_name
        self._roles = {name: _HeldRole(name, holder=holder) for name in names}
        self._ttl_s = ttl_s

    def role(self, name: str) -> Role:
        """Returns a role."""
        return self._roles[name]

    def store(self, name: str) -> Store:
        """Returns the store whose writes are refused once the role has passed to another controller."""
        return FencedStore(self._store, self._roles[name])

    async def keep(self) -> None:
        """Renews what is held and takes what is free."""
        # From before the database was asked: by its clock the lease lasts longer.
        until_s = asyncio.get_running_loop().time() + self._ttl_s - _MARGIN_S
        async with self._store.transaction(heartbeat=True) as tx:
            until = tx.now() + timedelta(seconds=self._ttl_s)
            epochs = dict(await tx.roles.renew(self._holder, until=until))
            taken = {lease.role for lease in await tx.roles.list() if lease.holder and lease.expires_at > tx.now()}
            for name in self._roles.keys() - taken:
                epoch = await tx.roles.take(name, holder=self._holder, holder_name=self._holder_name, until=until)
                if epoch is not None:
                    epochs[name] = epoch
        for name, role in self._roles.items():
            if name in epochs:
                role.keep(epochs[name], until_s=until_s)
            else:
                role.drop()

    async def start(self, ticks: Ticks) -> None:
        """Takes what is free now, and keeps looking with the clockwork."""
        with suppress(LodeworksError):
            await self.keep()
        ticks.every(_RENEW_S, "keeping of roles", self.keep)

    async def give_back(self) -> None:
        """Gives all roles to whoever wants them; where the database is away they expire."""
        for role in self._roles.values():
            role.drop()
        with suppress(LodeworksError):
            async with self._store.transaction() as tx:
                await tx.roles.give_back(self._holder)


def while_held(
    role: Role, work: Callable[[], Awaitable[None]], *, otherwise: Callable[[], object] | None = None
) -> Callable[[], Awaitable[None]]:
    """Returns work that is done only while the role is held; what is refused for a lost role is left to its holder."""

    async def guarded() -> None:
        if not role.held:
            if otherwise is not None:
                otherwise()
            return
        try:
            await work()
        except RoleLostError as error:
            _log.info("%s", error.message)

    return guarded
