"""Tasks: follow, cancel, retry, and the handle that every long call returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration

from lodeworks.api.task.v1 import task_pb2 as pb
from lodeworks.api.task.v1.task_pb2_grpc import TaskServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.errors import TaskFailedError
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from lodeworks.making import AsyncMaker

T = TypeVar("T")

_POLL_WAIT_S = 20
_OVER = frozenset({pb.TASK_STATE_SUCCEEDED, pb.TASK_STATE_FAILED, pb.TASK_STATE_CANCELLED})


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """News of a task.

    Attributes:
        task: The task as it is now.
        log: New bytes of its log.
        metrics: New points of its metric series.
    """

    task: pb.Task
    log: bytes
    metrics: tuple[pb.MetricPoint, ...]

    def __str__(self) -> str:
        """Returns one line for people."""
        state = pb.TaskState.Name(self.task.state).removeprefix("TASK_STATE_").lower()
        share = f" {self.task.progress:.0%}" if self.task.progress > 0 else ""
        points = "".join(f" {point.name}={point.value:.4g}" for point in self.metrics)
        return f"{self.task.kind} {state}{share} {self.task.message}{points}".rstrip()


class AsyncTask(Generic[T]):
    """A task and what it makes.

    Args:
        connection: Where it lives.
        data: The task as last seen; None for work that was done within the call.
        make: Turns the finished task into its result.
        value: The result, when it is there already.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        data: pb.Task | None,
        make: AsyncMaker[T],
        *,
        value: T | None = None,
    ) -> None:
        self._connection = connection
        self._make = make
        self._value = value
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id; empty for work that was done within the call."""
        return self.data.id if self.data is not None else ""

    @property
    def over(self) -> bool:
        """Says whether it has ended, well or not."""
        return self.data is None or self.data.state in _OVER

    async def refresh(self) -> AsyncTask[T]:
        """Looks at the task again."""
        if self.data is not None:
            response: pb.GetTaskResponse = await self._connection.call(
                TaskServiceStub, "GetTask", pb.GetTaskRequest(task_id=self.id)
            )
            self.data = response.task
        return self

    async def wait(self) -> AsyncTask[T]:
        """Waits until the task has ended, well or not."""
        while not self.over:
            await self._news(log_offset=-1, metric_offset=-1, attempt=0)
        return self

    async def watch(self, *, logs: bool = True) -> AsyncIterator[TaskEvent]:
        """Yields progress, metrics and log lines as they happen, until the task has ended.

        Args:
            logs: False leaves the log out.
        """
        log_offset = 0 if logs else -1
        metric_offset = attempt = 0
        more = not self.over
        if self.data is not None:
            self.data.revision = 0
        while more:
            news = await self._news(log_offset=log_offset, metric_offset=metric_offset, attempt=attempt)
            log_offset = news.log_offset if logs else -1
            metric_offset, attempt = news.metric_offset, news.log_attempt
            yield TaskEvent(task=news.task, log=news.log, metrics=tuple(news.metrics))
            more = news.more or not self.over

    async def result(self) -> T:
        """Waits for the end and returns what the task made.

        Raises:
            TaskFailedError: It ended without its product; the message says why.
        """
        await self.wait()
        if self.data is None:
            assert self._value is not None
            return self._value
        if self.data.state != pb.TASK_STATE_SUCCEEDED:
            raise failure_of(self.data)
        return await self._make(self.data)

    async def cancel(self) -> AsyncTask[T]:
        """Asks the task to end; what it has made so far is kept where its kind allows."""
        request = pb.CancelTaskRequest(task_id=self.id, request_id=new_request_id())
        response: pb.CancelTaskResponse = await self._connection.call(TaskServiceStub, "CancelTask", request)
        self.data = response.task
        return self

    async def retry(self, *, fresh: bool = False) -> AsyncTask[T]:
        """Queues a failed or cancelled task again.

        Args:
            fresh: True starts from the beginning; else it takes up its last checkpoint, where there is one.
        """
        request = pb.RetryTaskRequest(task_id=self.id, fresh=fresh, request_id=new_request_id())
        response: pb.RetryTaskResponse = await self._connection.call(TaskServiceStub, "RetryTask", request)
        self.data = response.task
        return self

    async def set(self, *, priority: int | None = None) -> AsyncTask[T]:
        """Changes a task that has not ended.

        Args:
            priority: Larger goes first; None leaves it as it is.
        """
        request = pb.SetTaskRequest(task_id=self.id, priority=priority, request_id=new_request_id())
        response: pb.SetTaskResponse = await self._connection.call(TaskServiceStub, "SetTask", request)
        self.data = response.task
        return self

    async def log(self, *, offset: int = 0, attempt: int = 0, stream: str = "out") -> AsyncIterator[bytes]:
        """Yields what there is of the log by now.

        Args:
            offset: First byte; negative counts from the end.
            attempt: Which attempt, from 1; 0 = the newest.
            stream: ``out`` for the executor, ``worker`` for the worker's own lines.
        """
        while True:
            request = pb.ReadLogRequest(task_id=self.id, attempt=attempt, stream=stream, offset=offset)
            part: pb.ReadLogResponse = await self._connection.call(TaskServiceStub, "ReadLog", request)
            if not part.data:
                return
            yield part.data
            offset = part.offset + len(part.data)

    async def metrics(self, names: Sequence[str] = ()) -> list[pb.MetricPoint]:
        """Returns the points of its metric series, in the order measured."""
        request = pb.ListMetricsRequest(task_id=self.id, names=names, page_size=1000)
        found = pages(self._connection, TaskServiceStub, "ListMetrics", request, items="points")
        return [point async for point in found]

    async def _news(self, *, log_offset: int, metric_offset: int, attempt: int) -> pb.WatchTaskResponse:
        request = pb.WatchTaskRequest(
            task_id=self.id,
            after_revision=self.data.revision if self.data is not None else 0,
            log_offset=log_offset,
            metric_offset=metric_offset,
            log_attempt=attempt,
            wait=Duration(seconds=_POLL_WAIT_S),
        )
        news: pb.WatchTaskResponse = await self._connection.call(
            TaskServiceStub, "WatchTask", request, timeout_s=_POLL_WAIT_S * 2
        )
        self.data = news.task
        return news


class AsyncTasks:
    """The tasks of a project, or of all projects that the caller may see.

    Args:
        connection: Where they live.
        project: Name or id; empty = all.
    """

    def __init__(self, connection: AsyncConnection, project: str = "") -> None:
        self._connection = connection
        self._project = project

    async def get(self, task_id: str) -> AsyncTask[pb.ObjectRef]:
        """Returns a task; its result is a reference to what it made. Raises NotFoundError."""
        response: pb.GetTaskResponse = await self._connection.call(
            TaskServiceStub, "GetTask", pb.GetTaskRequest(task_id=task_id)
        )
        return AsyncTask(self._connection, response.task, _reference)

    async def list(self, *, states: Sequence[str] = (), kinds: Sequence[str] = ()) -> AsyncIterator[pb.Task]:
        """Yields tasks, newest first.

        Args:
            states: Only these, such as ``running``; empty = all.
            kinds: Only these, such as ``train``; empty = all.
        """
        wanted = [pb.TaskState.Value(f"TASK_STATE_{state.upper()}") for state in states]
        request = pb.ListTasksRequest(project=self._project, states=wanted, kinds=kinds)
        async for task in pages(self._connection, TaskServiceStub, "ListTasks", request, items="tasks"):
            yield task


async def task_of(connection: AsyncConnection, task_id: str, make: AsyncMaker[T]) -> AsyncTask[T]:
    """Returns the handle of a task that a call has just made."""
    response: pb.GetTaskResponse = await connection.call(TaskServiceStub, "GetTask", pb.GetTaskRequest(task_id=task_id))
    return AsyncTask(connection, response.task, make)


def done(connection: AsyncConnection, value: T) -> AsyncTask[T]:
    """Returns the handle of work that was done within the call."""
    return AsyncTask(connection, None, _nothing, value=value)


def failure_of(task: pb.Task) -> TaskFailedError:
    """Says why a task ended without its product."""
    state = pb.TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
    reason = pb.FailureReason.Name(task.reason).removeprefix("FAILURE_REASON_")
    why = task.error or task.message or f"see its log with `lode task logs {task.id}`"
    return TaskFailedError(
        f"{task.title or task.kind} {state}: {why}",
        reason=reason,
        task_id=task.id,
        log_tail=tuple(task.log_tail),
        next_step=task.next_step,
    )


async def _reference(task: pb.Task) -> pb.ObjectRef:
    return task.result


async def _nothing(task: pb.Task) -> Any:
    raise AssertionError(task)
