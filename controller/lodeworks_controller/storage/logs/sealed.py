"""Logs and metric series that several controllers share: tails as rows of the database, sealed into blobs.

The row of a log is locked while something is appended, so that the offsets of two controllers meet in one order. Once
the tail is a mebibyte it becomes a blob; whoever seals second finds it done.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from lodeworks_controller.domain.clock import from_micros, to_micros
from lodeworks_controller.errors import GapError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.log import LogKey, MetricPoint

TAIL_BYTES: Final = 1 << 20
_ROW_BYTES: Final = 1 << 20


class Piece(Protocol):
    """A range of a log: the bytes themselves where they are a tail, else the blob that holds them."""

    @property
    def start_bytes(self) -> int:
        """Where it begins in the log."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...

    @property
    def data(self) -> bytes | None:
        """The bytes of a tail."""
        ...

    @property
    def digest(self) -> str:
        """The blob of a sealed part."""
        ...


class SealedLogs:
    """The logs of all attempts, in a database and a blob store.

    Args:
        store: The database; its units of work have ``logs`` and ``blobs``.
        blobs: Where sealed parts go.
        tail_bytes: How long a tail may grow.
    """

    def __init__(self, store: "LogUnits", blobs: BlobStore, *, tail_bytes: int = TAIL_BYTES) -> None:
        self._store = store
        self._blobs = blobs
        self._tail_bytes = tail_bytes

    async def append(self, key: LogKey, offset: int, data: bytes) -> int:
        """Appends what is new of the bytes and returns the committed size; an overlap is trimmed."""
        async with self._store.transaction() as tx:
            size, sealed = await tx.logs.hold(key)
            if offset > size:
                raise GapError(
                    "LOG_GAP",
                    f"the log has {size} bytes and the chunk begins at {offset}; send from {size} on",
                    committed_bytes=size,
                    committed_size=size,
                    stream=key.stream,
                )
            new = data[size - offset :]
            for start in range(0, len(new), _ROW_BYTES):
                await tx.logs.append(key, start=size + start, data=new[start : start + _ROW_BYTES])
            size += len(new)
        if size - sealed >= self._tail_bytes:
            await self._seal(key, start=sealed, end=size)
        return int(size)

    async def size(self, key: LogKey) -> int:
        """Returns the committed size; 0 for a log that is not there."""
        async with self._store.snapshot() as tx:
            return int(await tx.logs.size(key))

    async def read(self, key: LogKey, offset: int, limit: int) -> bytes:
        """Returns at most so many bytes from the offset."""
        end = offset + limit
        async with self._store.snapshot() as tx:
            pieces: Sequence[Piece] = await tx.logs.pieces(key, start=offset, end=end)
        return b"".join([data async for data in self._bytes(pieces, start=offset, end=end)])

    async def _bytes(self, pieces: Sequence[Piece], *, start: int, end: int) -> AsyncIterator[bytes]:
        for piece in pieces:
            first = max(0, start - piece.start_bytes)
            last = min(piece.size_bytes, end - piece.start_bytes)
            if piece.data is not None:
                yield piece.data[first:last]
            else:
                yield await self._blobs.read(piece.digest, offset=first, limit=last - first)

    async def _seal(self, key: LogKey, *, start: int, end: int) -> None:
        async with self._store.snapshot() as tx:
            tails = [piece for piece in await tx.logs.pieces(key, start=start, end=end) if piece.data is not None]
        data = b"".join([piece.data for piece in tails])
        if not tails or tails[0].start_bytes != start or len(data) != end - start:
            return  # another controller seals it
        blob = await self._blobs.put_bytes(data)
        async with self._store.transaction() as tx:
            _, sealed = await tx.logs.hold(key)
            if sealed != start:
                return
            await tx.blobs.record({blob.digest: blob.size_bytes})
            await tx.blobs.reference(log_scope(key.task_id), [blob.digest])
            await tx.logs.seal(key, start=start, end=end, digest=blob.digest)


class SharedMetrics:
    """The metric series of all attempts, as rows of the database."""

    def __init__(self, store: "LogUnits") -> None:
        self._store = store

    async def append(self, task_id: str, lease_epoch: int, offset: int, points: Sequence[MetricPoint]) -> int:
        """Appends what is new of the points and returns how many there are."""
        async with self._store.transaction() as tx:
            count = int(await tx.logs.hold_series(task_id, lease_epoch))
            if offset > count:
                raise GapError(
                    "METRIC_GAP",
                    f"the run has {count} points and these begin at {offset}; send from {count} on",
                    committed_bytes=count,
                    committed_size=count,
                )
            new = points[count - offset :]
            if new:
                await tx.logs.add_points(task_id, lease_epoch, first=count, points=[_to_json(point) for point in new])
        return count + len(new)

    async def read(self, task_id: str, lease_epoch: int, offset: int, limit: int) -> Sequence[MetricPoint]:
        """Returns at most so many points from the offset."""
        async with self._store.snapshot() as tx:
            found = await tx.logs.points(task_id, lease_epoch, offset=offset, limit=limit)
        return [_from_json(point) for point in found]


class LogUnits(Protocol):
    """Opens units of work that have ``logs`` beside ``blobs``."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Opens a unit of work that may write."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Any]:
        """Opens a unit of work that only reads."""
        ...


def log_scope(task_id: str) -> str:
    """Returns the scope of a task's sealed logs; they stay as long as the task is known."""
    return f"log:{task_id}"


def _to_json(point: MetricPoint) -> list[Any]:
    return [point.step, point.name, point.value, None if point.at is None else to_micros(point.at)]


def _from_json(told: list[Any]) -> MetricPoint:
    step, name, value, at = told
    return MetricPoint(step, name, value, None if at is None else from_micros(at))
