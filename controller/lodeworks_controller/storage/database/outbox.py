"""The outbox in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, delete, func, insert, select, update

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.service.outbox import OutboxMessage
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("topic", String(80), nullable=False),
    Column("payload", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("delivered_at", Instant),
    Column("subject", String(80), nullable=False, server_default=""),
    Column("project_id", Id, nullable=False, server_default=""),
    Index(None, "delivered_at", "not_before"),
)


_INSERT = prepared(insert(outbox))
_WAITING = outbox.c.delivered_at.is_(None)
# By the database's clock first: ids come from the clocks of several controllers.
_ORDER = (outbox.c.not_before, outbox.c.id)


class SqlOutboxRows:
    """The outbox on one connection."""

    def __init__(self, connection: Connection, *, ids: Ids, now: datetime) -> None:
        self._connection = connection
        self._ids = ids
        self._now = now

    async def add(self, topic: str, payload: Mapping[str, Any], *, subject: str = "", project_id: str = "") -> None:
        """Notes an event."""
        row = {
            "id": self._ids(),
            "topic": topic,
            "payload": dict(payload),
            "created_at": self._now,
            "not_before": self._now,
            "attempts": 0,
            "subject": subject,
            "project_id": project_id,
        }
        await self._connection.execute(_INSERT, row)

    async def pending(self, *, limit: int) -> Sequence[OutboxMessage]:
        """Returns events that were not handed on, oldest first."""
        columns = (outbox.c[name] for name in ("id", "topic", "payload", "created_at", "subject", "project_id"))
        query = select(*columns).where(_WAITING).order_by(*_ORDER).limit(limit)
        return [OutboxMessage(**row) for row in (await self._connection.execute(query)).mappings()]

    async def delivered(self, message_ids: Sequence[str]) -> None:
        """Notes that these events were handed on."""
        done = update(outbox).where(outbox.c.id.in_(message_ids)).values(delivered_at=self._now)
        await self._connection.execute(done)

    async def prune(self, *, before: datetime) -> int:
        """Removes events handed on before the moment; returns how many."""
        return (await self._connection.execute(delete(outbox).where(outbox.c.delivered_at < before))).rowcount

    async def oldest(self) -> datetime | None:
        """Returns when the oldest event that waits happened; None when none waits."""
        query = select(func.min(outbox.c.not_before).label("at")).where(_WAITING)
        found: datetime | None = (await self._connection.execute(query)).scalar()
        return found
