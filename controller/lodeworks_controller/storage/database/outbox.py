"""The outbox in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, delete, insert, select, update

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.service.outbox import OutboxMessage
from lodeworks_controller.storage.database.connection import Connection
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
    Index(None, "delivered_at", "not_before"),
)


_INSERT = insert(outbox)


class SqlOutboxRows:
    """The outbox on one connection."""

    def __init__(self, connection: Connection, *, ids: Ids, now: datetime) -> None:
        self._connection = connection
        self._ids = ids
        self._now = now

    async def add(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Notes a message."""
        row = {
            "id": self._ids(),
            "topic": topic,
            "payload": dict(payload),
            "created_at": self._now,
            "not_before": self._now,
            "attempts": 0,
        }
        await self._connection.execute(_INSERT, row)

    async def pending(self, *, limit: int) -> Sequence[OutboxMessage]:
        """Returns undelivered messages whose time has come, oldest first."""
        query = (
            select(outbox.c.id, outbox.c.topic, outbox.c.payload, outbox.c.created_at, outbox.c.attempts)
            .where(outbox.c.delivered_at.is_(None), outbox.c.not_before <= self._now)
            .order_by(outbox.c.id)
            .limit(limit)
        )
        return [OutboxMessage(**row) for row in (await self._connection.execute(query)).mappings()]

    async def delivered(self, message_ids: Sequence[str]) -> None:
        """Notes that these messages arrived."""
        done = update(outbox).where(outbox.c.id.in_(message_ids)).values(delivered_at=self._now)
        await self._connection.execute(done)

    async def postpone(self, message_id: str, *, until: datetime) -> None:
        """Notes a failed delivery and when to try again."""
        later = update(outbox).where(outbox.c.id == message_id)
        await self._connection.execute(later.values(not_before=until, attempts=outbox.c.attempts + 1))

    async def prune(self, *, before: datetime) -> int:
        """Removes messages delivered before the moment; returns how many."""
        return (await self._connection.execute(delete(outbox).where(outbox.c.delivered_at < before))).rowcount
