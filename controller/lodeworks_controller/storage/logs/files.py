"""Logs and metric series as append-only files: one per attempt and stream. Right for one controller.

The size of a file is the committed size. An append reaches the operating system before it is answered, so that it
outlives this process.
"""

import asyncio
import json
import os
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lodeworks_controller.domain.clock import from_micros, to_micros
from lodeworks_controller.errors import ExhaustedError, GapError
from lodeworks_controller.service.log import LogKey, MetricPoint

_NO_SPACE = 28


def _folder(root: Path, task_id: str, lease_epoch: int) -> Path:
    # The last characters of an id are chance: they spread the tasks over folders.
    return root / task_id[-2:] / task_id / str(lease_epoch)


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
    except OSError as error:
        # Half a chunk must not stay: the caller sends it whole again.
        with path.open("ab") as file:
            file.truncate(before)
        if error.errno == _NO_SPACE:
            raise ExhaustedError("DISK_FULL", "the controller's disk is full; make room and repeat") from error
        raise


@dataclass(slots=True)
class _Turn:
    """Who may append to one log now, and how many want to."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class LogFiles:
    """The logs of all attempts under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._turns: dict[LogKey, _Turn] = {}

    async def append(self, key: LogKey, offset: int, data: bytes) -> int:
        """Appends what is new of the bytes and returns the committed size; an overlap is trimmed."""
        # A caller that is cancelled does not stop its thread: whoever comes next waits for that too.
        return await asyncio.shield(self._in_turn(key, offset, data))

    async def _in_turn(self, key: LogKey, offset: int, data: bytes) -> int:
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                return await asyncio.to_thread(self._append, key, offset, data)
        finally:
            # A lock that was let go has waiters that do not hold it yet: only who uses it counts.
            turn.users -= 1
            if not turn.users:
                del self._turns[key]

    async def size(self, key: LogKey) -> int:
        """Returns the committed size; 0 for a log that is not there."""
        return await asyncio.to_thread(_size, self._path(key))

    async def read(self, key: LogKey, offset: int, limit: int) -> bytes:
        """Returns at most so many bytes from the offset."""
        return await asyncio.to_thread(_read, self._path(key), offset, limit)

    def _path(self, key: LogKey) -> Path:
        return _folder(self._root, key.task_id, key.lease_epoch) / f"{key.stream}.log"

    def _append(self, key: LogKey, offset: int, data: bytes) -> int:
        path = self._path(key)
        size = _size(path)
        if offset > size:
            raise GapError(
                "LOG_GAP",
                f"the log has {size} bytes and the chunk begins at {offset}; send from {size} on",
                committed_bytes=size,
                committed_size=size,
                stream=key.stream,
            )
        new = data[size - offset :]
        if new:
            _append(path, new)
        return size + len(new)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


class _Series:
    """Where each point of one file begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts = array("q", [0])
        data = _read(path, 0, -1)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)  # a crash left half a line
        for line in data[:whole].splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    @property
    def count(self) -> int:
        return len(self.starts) - 1

    def append(self, lines: Sequence[bytes]) -> None:
        _append(self.path, b"".join(lines))
        for line in lines:
            self.starts.append(self.starts[-1] + len(line))

    def read(self, offset: int, limit: int) -> bytes:
        end = min(self.count, offset + limit)
        if offset >= end:
            return b""
        return _read(self.path, self.starts[offset], self.starts[end] - self.starts[offset])


class MetricFiles:
    """The metric series of all attempts under one folder: one JSON value per line."""

    def __init__(self, root: Path, *, kept_open: int = 256) -> None:
        self._root = root
        self._kept_open = kept_open
        self._series: OrderedDict[tuple[str, int], _Series] = OrderedDict()
        self._lock = asyncio.Lock()

    async def append(self, task_id: str, lease_epoch: int, offset: int, points: Sequence[MetricPoint]) -> int:
        """Appends what is new of the points and returns how many there are."""

        async def in_turn() -> int:
            async with self._lock:
                return await asyncio.to_thread(self._append, task_id, lease_epoch, offset, points)

        return await asyncio.shield(in_turn())

    async def read(self, task_id: str, lease_epoch: int, offset: int, limit: int) -> Sequence[MetricPoint]:
        """Returns at most so many points from the offset."""
        async with self._lock:
            data = await asyncio.to_thread(lambda: self._open(task_id, lease_epoch).read(offset, limit))
        return [_to_point(line) for line in data.splitlines()]

    def _append(self, task_id: str, lease_epoch: int, offset: int, points: Sequence[MetricPoint]) -> int:
        series = self._open(task_id, lease_epoch)
        if offset > series.count:
            raise GapError(
                "METRIC_GAP",
                f"the run has {series.count} points and these begin at {offset}; send from {series.count} on",
                committed_bytes=series.count,
                committed_size=series.count,
            )
        new = points[series.count - offset :]
        if new:
            series.append([_to_line(point) for point in new])
        return series.count

    def _open(self, task_id: str, lease_epoch: int) -> _Series:
        key = (task_id, lease_epoch)
        series = self._series.pop(key, None) or _Series(_folder(self._root, task_id, lease_epoch) / "metrics.jsonl")
        self._series[key] = series
        while len(self._series) > self._kept_open:
            self._series.popitem(last=False)
        return series


def _to_line(point: MetricPoint) -> bytes:
    at = None if point.at is None else to_micros(point.at)
    return json.dumps([point.step, point.name, point.value, at], ensure_ascii=False).encode() + b"\n"


def _to_point(line: bytes) -> MetricPoint:
    step, name, value, at = json.loads(line)
    return MetricPoint(step, name, value, None if at is None else from_micros(at))
