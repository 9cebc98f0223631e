"""Which workers were there when last looked, in SQL: so that each going and coming is told once."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Boolean, Column, Table, delete, insert, select, update

from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, metadata

presence = Table(
    "worker_presence",
    metadata,
    Column("worker_id", Id, primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("changed_at", Instant, nullable=False),
)


class SqlPresenceRows:
    """What was told of workers, on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def all(self) -> Mapping[str, bool]:
        """Returns whether each worker was there when last looked."""
        rows = (await self._connection.execute(select(presence))).mappings()
        return {row["worker_id"]: bool(row["online"]) for row in rows}

    async def put(self, worker_id: str, *, online: bool) -> None:
        """Notes that a worker came or went."""
        told = {"online": online, "changed_at": self._now}
        mine = update(presence).where(presence.c.worker_id == worker_id).values(told)
        if not (await self._connection.execute(mine)).rowcount:
            await self._connection.execute(insert(presence), {"worker_id": worker_id, **told})

    async def remove(self, worker_id: str) -> None:
        """Forgets a worker that was removed."""
        await self._connection.execute(delete(presence).where(presence.c.worker_id == worker_id))
