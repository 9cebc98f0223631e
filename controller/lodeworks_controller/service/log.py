"""What runs say: logs by offset, metric series by position; for the workers that write and the people who read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.task import TaskService, TaskView
from lodeworks_controller.service.wake import Wakes

STREAMS = frozenset({"out", "worker"})
READ_BYTES = 256 * 1024
READ_MOST_BYTES = 1024 * 1024
METRICS_AT_ONCE = 1_000
_LOOK_AGAIN_S = 1.0
_TAIL_BYTES = 8 * 1024
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class LogKey:
    """One log: a stream of one attempt."""

    task_id: str
    lease_epoch: int
    stream: str = "out"


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of a log and where they belong."""

    key: LogKey
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one series."""

    step: int
    name: str
    value: float
    at: datetime | None = None


class LogStore(Protocol):
    """Append-only logs. The committed size only grows."""

    async def append(self, key: LogKey, offset: int, data: bytes) -> int:
        """Appends what is new of the bytes and returns the committed size; an overlap is trimmed.

        Raises GapError (LOG_GAP) where bytes before the offset are missing.
        """
        ...

    async def size(self, key: LogKey) -> int:
        """Returns the committed size; 0 for a log that is not there."""
        ...

    async def read(self, key: LogKey, offset: int, limit: int) -> bytes:
        """Returns at most so many bytes from the offset."""
        ...


class MetricStore(Protocol):
    """Append-only points of one attempt, numbered from 0."""

    async def append(self, task_id: str, lease_epoch: int, offset: int, points: Sequence[MetricPoint]) -> int:
        """Appends what is new of the points and returns how many there are; raises GapError (METRIC_GAP)."""
        ...

    async def read(self, task_id: str, lease_epoch: int, offset: int, limit: int) -> Sequence[MetricPoint]:
        """Returns at most so many points from the offset."""
        ...


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log."""

    data: bytes
    offset: int
    size_bytes: int
    complete: bool
    """Whether no more will come."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new of a task since the caller last looked."""

    view: TaskView
    log: bytes
    log_offset: int
    metrics: Sequence[MetricPoint]
    metric_offset: int
    attempt_no: int
    more: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watcher has already; -1 = it wants none."""

    revision: int = 0
    log_offset: int = 0
    metric_offset: int = 0
    attempt_no: int = 0


CheckLease = Callable[[str, str, int], Awaitable[Task]]
"""Refuses a worker that does not hold that epoch of the task."""


class LogService:
    """Takes logs and metrics from workers."""

    def __init__(self, logs: LogStore, metrics: MetricStore, *, check: CheckLease, wakes: Wakes) -> None:
        self._logs = logs
        self._metrics = metrics
        self._check = check
        self._wakes = wakes

    async def append(self, worker_id: str, chunks: AsyncIterator[LogChunk]) -> dict[LogKey, int]:
        """Appends chunks and returns the committed size of each stream that was named."""
        committed: dict[LogKey, int] = {}
        checked: set[tuple[str, int]] = set()
        async for chunk in chunks:
            key = chunk.key
            if key.stream not in STREAMS:
                raise InvalidError("LOG_STREAM", f"there is no log stream {key.stream}; use out or worker")
            if (key.task_id, key.lease_epoch) not in checked:
                await self._check(worker_id, key.task_id, key.lease_epoch)
                checked.add((key.task_id, key.lease_epoch))
            committed[key] = await self._logs.append(key, chunk.offset, chunk.data)
            self._wakes.task_changed(key.task_id)
        return committed

    async def append_metrics(
        self, worker_id: str, task_id: str, lease_epoch: int, *, offset: int, points: Sequence[MetricPoint]
    ) -> int:
        """Appends points and returns how many the run has."""
        await self._check(worker_id, task_id, lease_epoch)
        committed = await self._metrics.append(task_id, lease_epoch, offset, points)
        self._wakes.task_changed(task_id)
        return committed

    async def tail(self, task_id: str, lease_epoch: int) -> Sequence[str]:
        """Returns the last lines of a run's output."""
        key = LogKey(task_id, lease_epoch)
        size = await self._logs.size(key)
        data = await self._logs.read(key, max(0, size - _TAIL_BYTES), _TAIL_BYTES)
        return data.decode(errors="replace").splitlines()[-_TAIL_LINES:]


class TaskNews:
    """Shows people what their tasks say."""

    def __init__(self, tasks: TaskService, logs: LogStore, metrics: MetricStore, *, wakes: Wakes) -> None:
        self._tasks = tasks
        self._logs = logs
        self._metrics = metrics
        self._wakes = wakes

    async def read_log(
        self, principal: Principal, task_id: str, *, attempt_no: int, stream: str, offset: int, limit: int
    ) -> LogPart:
        """Returns a part of a log; attempt 0 = the newest, a negative offset counts from the end."""
        stream = stream or "out"
        if stream not in STREAMS:
            raise InvalidError("LOG_STREAM", f"there is no log stream {stream}; use out or worker", field="stream")
        attempt = _pick((await self._tasks.view(principal, task_id)).attempts, attempt_no)
        if attempt is None:
            return LogPart(b"", 0, 0, complete=False)
        key = LogKey(task_id, attempt.lease_epoch, stream)
        size = await self._logs.size(key)
        start = max(0, size + offset) if offset < 0 else offset
        data = await self._logs.read(key, start, min(limit or READ_BYTES, READ_MOST_BYTES))
        over = attempt.outcome is not None and start + len(data) >= size
        return LogPart(data, start, size, complete=over)

    async def read_metrics(
        self, principal: Principal, task_id: str, *, names: Collection[str], offset: int, limit: int
    ) -> tuple[Sequence[MetricPoint], int | None]:
        """Returns points of the newest attempt and where the next page begins (None = that was all)."""
        attempt = _pick((await self._tasks.view(principal, task_id)).attempts, 0)
        if attempt is None:
            return (), None
        limit = min(limit or 100, METRICS_AT_ONCE)
        points = await self._metrics.read(task_id, attempt.lease_epoch, offset, limit)
        following = offset + len(points) if len(points) == limit else None
        return [point for point in points if not names or point.name in names], following

    async def watch(self, principal: Principal, task_id: str, seen: Seen, *, wait_s: float) -> News:
        """Answers as soon as there is something newer than what the caller has, or after the wait."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(wait_s, 30.0)
        with self._wakes.watching(task_id) as signal:
            while True:
                signal.clear()
                news = await self._news(principal, task_id, seen)
                left = deadline - loop.time()
                if _is_new(news, seen) or left <= 0 or self._wakes.closing:
                    return news
                # Another controller may take what the worker sends: its wake is a hint that can be lost.
                await signal.wait(left if self._wakes.abroad is None else min(left, _LOOK_AGAIN_S))

    async def _news(self, principal: Principal, task_id: str, seen: Seen) -> News:
        view = await self._tasks.view(principal, task_id)
        attempt = _pick(view.attempts, 0)
        log, points = b"", list[MetricPoint]()
        log_offset, metric_offset = seen.log_offset, seen.metric_offset
        if attempt is not None:
            if attempt.number != seen.attempt_no:
                log_offset, metric_offset = min(0, log_offset), min(0, metric_offset)
            if log_offset >= 0:
                log = await self._logs.read(LogKey(task_id, attempt.lease_epoch), log_offset, READ_BYTES)
            if metric_offset >= 0:
                points.extend(await self._metrics.read(task_id, attempt.lease_epoch, metric_offset, METRICS_AT_ONCE))
        return News(
            view=view,
            log=log,
            log_offset=log_offset + len(log),
            metrics=points,
            metric_offset=metric_offset + len(points),
            attempt_no=0 if attempt is None else attempt.number,
            more=len(log) == READ_BYTES or len(points) == METRICS_AT_ONCE,
        )


def _is_new(news: News, seen: Seen) -> bool:
    return news.view.task.revision > seen.revision or bool(news.log or news.metrics)


def _pick(attempts: Sequence[Attempt], number: int) -> Attempt | None:
    if not number:
        return attempts[-1] if attempts else None
    return next((attempt for attempt in attempts if attempt.number == number), None)
