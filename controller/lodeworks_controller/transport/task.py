"""What people call about tasks."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc.aio
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.task.advice import next_step
from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import ObjectRef
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.log import MetricPoint, Seen, TaskNews
from lodeworks_controller.service.task import TaskService, TaskView
from lodeworks_controller.service.task_rows import TaskFilter
from lodeworks_controller.transport.task_options import options_in_force
from lodeworks_controller.transport.wire import from_duration, page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]
"""Returns who calls, by the bearer token, or refuses."""

_STATES = {state: task_pb2.TaskState.Value(f"TASK_STATE_{state.name}") for state in TaskState}
_STATE_OF = {value: state for state, value in _STATES.items()}


class TaskServicer(task_pb2_grpc.TaskServiceServicer):
    """Shows the tasks of a project and what they say."""

    def __init__(self, tasks: TaskService, news: TaskNews, *, caller: CallerOf) -> None:
        self._tasks = tasks
        self._news = news
        self._caller = caller

    async def GetTask(self, request: task_pb2.GetTaskRequest, context: Context) -> task_pb2.GetTaskResponse:
        """Shows one task."""
        view = await self._tasks.view(await self._caller(context), request.task_id)
        task = to_task(view)
        task.attempts.extend(_to_attempt(one, view.workers.get(one.worker_id, "")) for one in view.attempts)
        return task_pb2.GetTaskResponse(task=task)

    async def ListTasks(self, request: task_pb2.ListTasksRequest, context: Context) -> task_pb2.ListTasksResponse:
        """Lists tasks, newest first."""
        limit = page_size(request.page_size)
        which = TaskFilter(
            states=frozenset(_STATE_OF[state] for state in request.states if state in _STATE_OF),
            kinds=frozenset(request.kinds),
            before_id=request.page_token,
            limit=limit,
        )
        views = await self._tasks.list(await self._caller(context), request.project, which)
        token = views[-1].task.id if len(views) == limit else ""
        return task_pb2.ListTasksResponse(tasks=[to_task(view) for view in views], next_page_token=token)

    async def WatchTask(self, request: task_pb2.WatchTaskRequest, context: Context) -> task_pb2.WatchTaskResponse:
        """Waits for news of a task."""
        seen = Seen(request.after_revision, request.log_offset, request.metric_offset, request.log_attempt)
        news = await self._news.watch(
            await self._caller(context), request.task_id, seen, wait_s=from_duration(request.wait)
        )
        return task_pb2.WatchTaskResponse(
            task=to_task(news.view),
            log=news.log,
            log_offset=news.log_offset,
            metrics=_to_points(news.metrics),
            metric_offset=news.metric_offset,
            log_attempt=news.attempt_no,
            more=news.more,
        )

    async def ReadLog(self, request: task_pb2.ReadLogRequest, context: Context) -> task_pb2.ReadLogResponse:
        """Reads a part of a log."""
        part = await self._news.read_log(
            await self._caller(context),
            request.task_id,
            attempt_no=request.attempt,
            stream=request.stream,
            offset=request.offset,
            limit=request.limit,
        )
        return task_pb2.ReadLogResponse(
            data=part.data, offset=part.offset, size_bytes=part.size_bytes, complete=part.complete
        )

    async def ListMetrics(self, request: task_pb2.ListMetricsRequest, context: Context) -> task_pb2.ListMetricsResponse:
        """Reads the metric series of a task."""
        if request.page_token and not request.page_token.isdecimal():
            raise InvalidError("PAGE_TOKEN", "the page token is not one of this list", field="page_token")
        points, following = await self._news.read_metrics(
            await self._caller(context),
            request.task_id,
            names=frozenset(request.names),
            offset=int(request.page_token or 0),
            limit=page_size(request.page_size),
        )
        token = "" if following is None else str(following)
        return task_pb2.ListMetricsResponse(points=_to_points(points), next_page_token=token)

    async def CancelTask(self, request: task_pb2.CancelTaskRequest, context: Context) -> task_pb2.CancelTaskResponse:
        """Asks a task to end."""
        principal = await self._caller(context)
        await self._tasks.cancel(principal, request.task_id, request_id=request.request_id)
        return task_pb2.CancelTaskResponse(task=to_task(await self._tasks.view(principal, request.task_id)))

    async def RetryTask(self, request: task_pb2.RetryTaskRequest, context: Context) -> task_pb2.RetryTaskResponse:
        """Queues a failed or cancelled task again."""
        principal = await self._caller(context)
        await self._tasks.retry(principal, request.task_id, fresh=request.fresh, request_id=request.request_id)
        return task_pb2.RetryTaskResponse(task=to_task(await self._tasks.view(principal, request.task_id)))

    async def SetTask(self, request: task_pb2.SetTaskRequest, context: Context) -> task_pb2.SetTaskResponse:
        """Changes a task's priority."""
        principal = await self._caller(context)
        if request.HasField("priority"):
            await self._tasks.set_priority(principal, request.task_id, request.priority, request_id=request.request_id)
        return task_pb2.SetTaskResponse(task=to_task(await self._tasks.view(principal, request.task_id)))


def to_task(view: TaskView) -> task_pb2.Task:
    """Returns a task as a message."""
    task, failure = view.task, view.task.failure
    results = [_to_ref(result) for result in task.results]
    message = task_pb2.Task(
        id=task.id,
        project_id=task.project_id,
        kind=task.kind,
        title=task.title,
        state=_STATES[task.state],
        progress=task.progress,
        message=task.message or task.waiting_reason,
        results=results,
        worker_name=view.worker_name,
        attempt=task.attempt_no,
        depends_on=view.parents,
        create_time=to_time(task.created_at),
        start_time=to_time(task.started_at),
        end_time=to_time(task.ended_at),
        revision=task.revision,
        create_user=view.user_name,
        options=options_in_force(task),
        next_step=next_step(task, worker_name=view.worker_name),
        retries_left=task.budget.user,
        infrastructure_retries_left=task.budget.infrastructure,
        equal_task_id=task.equal_task_id,
        reused=task.reused,
        checkpoint_time=to_time(None if view.checkpoint is None else view.checkpoint.saved_at),
        not_before_time=to_time(task.not_before if task.state is TaskState.QUEUED else None),
        suspect_time=to_time(task.lease.suspect_at),
    )
    if results:
        message.result.CopyFrom(results[0])
    if view.attempts:
        last = view.attempts[-1]
        message.exit_code, message.signal, message.cpu_s = last.exit_code, last.signal, last.cpu_s
    if failure is not None and task.state.final:
        message.reason = task_pb2.FailureReason.Value(f"FAILURE_REASON_{failure.reason.name}")
        message.error = failure.message
        message.log_tail.extend(failure.last_lines)
    return message


def _to_attempt(attempt: Attempt, worker_name: str) -> task_pb2.Attempt:
    reason = "UNSPECIFIED" if attempt.reason is None else attempt.reason.name
    outcome = "UNSPECIFIED" if attempt.outcome is None else attempt.outcome.name
    return task_pb2.Attempt(
        number=attempt.number,
        worker_name=worker_name,
        start_time=to_time(attempt.started_at),
        end_time=to_time(attempt.ended_at),
        outcome=task_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome}"),
        reason=task_pb2.FailureReason.Value(f"FAILURE_REASON_{reason}"),
        message=attempt.message,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        log_tail=attempt.log_tail,
        cpu_s=attempt.cpu_s,
        environment_digest=attempt.environment_digest,
    )


def _to_ref(ref: ObjectRef) -> task_pb2.ObjectRef:
    return task_pb2.ObjectRef(type=ref.type, id=ref.id, name=ref.name)


def _to_points(points: Sequence[MetricPoint]) -> Sequence[task_pb2.MetricPoint]:
    return [
        task_pb2.MetricPoint(step=point.step, name=point.name, value=point.value, measure_time=to_time(point.at))
        for point in points
    ]
