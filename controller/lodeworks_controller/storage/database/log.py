"""Logs and metric series of several controllers, in SQL: tails as rows, and which blobs hold what was sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from lodeworks_controller.service.log import LogKey
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Id, JsonText, metadata
from lodeworks_controller.storage.database.upsert import insert_new


def _key() -> list[Column[Any]]:
    return [
        Column("task_id", Id, primary_key=True),
        Column("lease_epoch", BigInteger, primary_key=True, autoincrement=False),
        Column("stream", String(10), primary_key=True),
    ]


log_streams = Table(
    "log_streams",
    metadata,
    *_key(),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sealed_bytes", BigInteger, nullable=False),
)

log_tails = Table(
    "log_tails",
    metadata,
    *_key(),
    Column("start_bytes", BigInteger, primary_key=True, autoincrement=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

log_parts = Table(
    "log_parts",
    metadata,
    *_key(),
    Column("start_bytes", BigInteger, primary_key=True, autoincrement=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", Digest, nullable=False),
)

metric_points = Table(
    "metric_points",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("lease_epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("point", JsonText, nullable=False),
)


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A range of a log: the bytes themselves where they are a tail, else the blob that holds them."""

    start_bytes: int
    size_bytes: int
    data: bytes | None = None
    digest: str = ""


class SqlLogRows:
    """The logs and series on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, key: LogKey) -> tuple[int, int]:
        """Locks a log, making it if need be; returns its size and how much of it is sealed."""
        row = {**_named(key), "size_bytes": 0, "sealed_bytes": 0}
        query = select(log_streams.c.size_bytes, log_streams.c.sealed_bytes).where(*_of(log_streams, key))
        found = (await self._connection.execute(query.with_for_update())).all()
        if not found:
            await self._connection.execute(insert_new(log_streams), row)
            found = (await self._connection.execute(query.with_for_update())).all()
        return int(found[0].size_bytes), int(found[0].sealed_bytes)

    async def size(self, key: LogKey) -> int:
        """Returns the committed size; 0 for a log that is not there."""
        query = select(log_streams.c.size_bytes).where(*_of(log_streams, key))
        return int((await self._connection.execute(query)).scalar() or 0)

    async def append(self, key: LogKey, *, start: int, data: bytes) -> None:
        """Adds bytes at the end of a held log."""
        row = {**_named(key), "start_bytes": start, "size_bytes": len(data), "data": data}
        await self._connection.execute(insert(log_tails), row)
        grown = update(log_streams).where(*_of(log_streams, key)).values(size_bytes=start + len(data))
        await self._connection.execute(grown)

    async def pieces(self, key: LogKey, *, start: int, end: int) -> Sequence[LogPiece]:
        """Returns what holds a range, in order; the first and the last may reach beyond it."""
        found = list[LogPiece]()
        for table, content in ((log_parts, log_parts.c.digest), (log_tails, log_tails.c.data)):
            overlaps = (table.c.start_bytes < end, table.c.start_bytes + table.c.size_bytes > start)
            query = select(table.c.start_bytes, table.c.size_bytes, content.label("content"))
            ordered = query.where(*_of(table, key), *overlaps).order_by(table.c.start_bytes)
            for row in (await self._connection.execute(ordered)).all():
                held = {"digest": row.content} if table is log_parts else {"data": bytes(row.content)}
                found.append(LogPiece(row.start_bytes, row.size_bytes, **held))
        return found

    async def seal(self, key: LogKey, *, start: int, end: int, digest: str) -> None:
        """Puts a blob in place of the tails of a range of a held log."""
        row = {**_named(key), "start_bytes": start, "size_bytes": end - start, "digest": digest}
        await self._connection.execute(insert(log_parts), row)
        await self._connection.execute(delete(log_tails).where(*_of(log_tails, key), log_tails.c.start_bytes < end))
        await self._connection.execute(update(log_streams).where(*_of(log_streams, key)).values(sealed_bytes=end))

    async def hold_series(self, task_id: str, lease_epoch: int) -> int:
        """Locks the series of an attempt; returns how many points there are."""
        await self.hold(LogKey(task_id, lease_epoch, "metrics"))
        query = select(func.max(metric_points.c.number)).where(*_in_series(task_id, lease_epoch))
        last = (await self._connection.execute(query)).scalar()
        return 0 if last is None else int(last) + 1

    async def add_points(self, task_id: str, lease_epoch: int, *, first: int, points: Sequence[Any]) -> None:
        """Adds points, as JSON values, at the end of held series."""
        rows = [
            {"task_id": task_id, "lease_epoch": lease_epoch, "number": first + place, "point": point}
            for place, point in enumerate(points)
        ]
        await self._connection.execute(insert(metric_points), rows)

    async def points(self, task_id: str, lease_epoch: int, *, offset: int, limit: int) -> Sequence[Any]:
        """Returns at most so many points from a number on."""
        query = select(metric_points.c.point).where(
            *_in_series(task_id, lease_epoch),
            metric_points.c.number >= offset,
            metric_points.c.number < offset + limit,
        )
        return list((await self._connection.execute(query.order_by(metric_points.c.number))).scalars())


def _named(key: LogKey) -> dict[str, Any]:
    return {"task_id": key.task_id, "lease_epoch": key.lease_epoch, "stream": key.stream}


def _of(table: Table, key: LogKey) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.task_id == key.task_id,
        table.c.lease_epoch == key.lease_epoch,
        table.c.stream == key.stream,
    )


def _in_series(task_id: str, lease_epoch: int) -> tuple[ColumnElement[bool], ...]:
    return (metric_points.c.task_id == task_id, metric_points.c.lease_epoch == lease_epoch)
