"""The leases of background roles in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Column, String, Table, or_, select, update

from lodeworks_controller.service.role import RoleLease
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Instant, metadata
from lodeworks_controller.storage.database.upsert import insert_new

role_leases = Table(
    "role_leases",
    metadata,
    Column("role", String(40), primary_key=True),
    Column("holder", String(26), nullable=False),
    Column("holder_name", String(80), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
)


class SqlRoleRows:
    """The leases on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def take(self, role: str, *, holder: str, holder_name: str, until: datetime) -> int | None:
        """Takes a role that is free or expired; returns its new epoch, None if another has it."""
        nobody = {"role": role, "holder": "", "holder_name": "", "epoch": 0, "expires_at": self._now}
        await self._connection.execute(insert_new(role_leases), nobody)
        free = or_(role_leases.c.holder == "", role_leases.c.expires_at <= self._now)
        taken = {"holder": holder, "holder_name": holder_name, "expires_at": until}
        change = update(role_leases).where(role_leases.c.role == role, free)
        change = change.values(**taken, epoch=role_leases.c.epoch + 1)
        epoch: int | None = (await self._connection.execute(change.returning(role_leases.c.epoch))).scalar()
        return epoch

    async def renew(self, holder: str, *, until: datetime) -> Mapping[str, int]:
        """Renews all leases of a holder; returns role → epoch of those that it has."""
        renewal = update(role_leases).where(role_leases.c.holder == holder).values(expires_at=until)
        renewal = renewal.returning(role_leases.c.role, role_leases.c.epoch)
        return {row.role: row.epoch for row in await self._connection.execute(renewal)}

    async def give_back(self, holder: str) -> int:
        """Ends all leases of a holder at once; returns how many."""
        ended = update(role_leases).where(role_leases.c.holder == holder)
        return (await self._connection.execute(ended.values(holder="", holder_name=""))).rowcount

    async def holds(self, role: str, *, holder: str, epoch: int) -> bool:
        """Says whether the lease of that epoch still stands; it does until the unit of work ends."""
        mine = (role_leases.c.role == role, role_leases.c.holder == holder, role_leases.c.epoch == epoch)
        # The row is locked against who would take it over, not against others who look.
        query = select(role_leases.c.epoch).where(*mine).with_for_update(read=True)
        return (await self._connection.execute(query)).first() is not None

    async def list(self) -> Sequence[RoleLease]:
        """Returns the leases by role."""
        rows = (await self._connection.execute(select(role_leases).order_by(role_leases.c.role))).mappings()
        return [RoleLease(**row) for row in rows]
