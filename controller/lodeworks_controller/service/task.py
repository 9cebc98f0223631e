"""Tasks for people and for the other services: submit, look, wait, cancel, retry."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.project import Project
from lodeworks_controller.domain.task.attempt import Attempt, Checkpoint
from lodeworks_controller.domain.task.lease import cancelled
from lodeworks_controller.domain.task.placement_order import check_priority
from lodeworks_controller.domain.task.retry import again_from_start
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Budget, Failure, NewTask, Task
from lodeworks_controller.domain.worker import DirectiveKind
from lodeworks_controller.errors import ConflictError, NotFoundError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.quota import RememberedQuotas, check_quota
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task_options import check_options
from lodeworks_controller.service.task_rows import TaskFilter
from lodeworks_controller.service.wake import Wakes

_MOST_PROJECTS = 10_000

Enter = Callable[[Transaction, Principal, str, ProjectRole], Awaitable[Project]]
"""Returns the project of that name or id, or refuses a caller who has not the role there."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task with what people want to see beside it."""

    task: Task
    attempts: Sequence[Attempt]
    """Oldest first."""
    parents: Sequence[str]
    worker_name: str
    user_name: str
    workers: Mapping[str, str] = field(default_factory=dict)
    """Names of the workers of the attempts, by id."""
    checkpoint: Checkpoint | None = None


async def swap(tx: Transaction, old: Task, new: Task) -> Task:
    """Stores the task's next state and returns it with its new revision; refuses if somebody was faster."""
    if not await tx.tasks.swap(old, new):
        raise ConflictError("TASK_CHANGED", f"task {old.id} changed meanwhile; try again", task_id=old.id)
    return replace(new, revision=old.revision + 1)


class TaskService:
    """Makes tasks, shows them, and moves them on behalf of people."""

    def __init__(self, store: Store, *, settlement: Settlement, enter: Enter, wakes: Wakes, ids: Ids) -> None:
        self._store = store
        self._settlement = settlement
        self._enter = enter
        self._wakes = wakes
        self._ids = ids
        self._quotas = RememberedQuotas()

    async def submit(self, tx: Transaction, wish: NewTask) -> Task:
        """Makes a task inside the caller's unit of work: QUEUED, or BLOCKED while parents are not done.

        Raises ExhaustedError QUOTA_QUEUED_TASKS, QUOTA_GPUS.
        """
        await check_options(tx, wish)
        wish = wish.with_options()
        await check_quota(tx, await self._quotas.at(tx), wish)
        left = 0
        for parent_id in wish.depends_on:
            parent = await tx.tasks.get(parent_id)
            if parent.state in {TaskState.FAILED, TaskState.CANCELLED}:
                raise ConflictError(
                    "DEPENDENCY_FAILED", f"task {parent_id} that this one would wait for is {parent.state.value}"
                )
            left += parent.state is not TaskState.SUCCEEDED
        task = _new(self._ids(), wish, deps_left=left, at=tx.now())
        await tx.tasks.insert(task, depends_on=wish.depends_on)
        actor = f"user:{wish.created_by}" if wish.created_by else "controller"
        await tx.audit.add("task.submit", task.id, actor=actor, project_id=task.project_id, detail={"kind": task.kind})
        if not left:
            tell = tx.on_kept if self._settlement.prepares_alone(task) else tx.on_commit
            tell(lambda: self._wakes.placer.give(task))
        return task

    async def get(self, principal: Principal, task_id: str) -> Task:
        """Returns a task that the caller may see."""
        async with self._store.snapshot() as tx:
            return await self._visible(tx, principal, task_id, ProjectRole.VIEWER)

    async def view(self, principal: Principal, task_id: str) -> TaskView:
        """Returns a task that the caller may see, with its attempts and names."""
        async with self._store.snapshot() as tx:
            return await _view(tx, await self._visible(tx, principal, task_id, ProjectRole.VIEWER))

    async def list(self, principal: Principal, project: str, which: TaskFilter) -> Sequence[TaskView]:
        """Returns tasks, newest first, of a project (name or id) or of all that the caller may see."""
        async with self._store.snapshot() as tx:
            if project:
                found = await self._enter(tx, principal, project, ProjectRole.VIEWER)
                which = replace(which, project_ids=frozenset({found.id}))
            elif not principal.is_administrator:
                mine = await tx.projects.list(user_id=principal.user_id, limit=_MOST_PROJECTS)
                which = replace(which, project_ids=frozenset(one.id for one in mine))
            return [await _view(tx, task, last_only=True) for task in await tx.tasks.list(which)]

    async def cancel(self, principal: Principal, task_id: str, *, request_id: str = "") -> Task:
        """Asks a task to end; what was made so far is kept where its kind allows."""
        once = Once(principal.actor, "task.cancel", request_id)
        async with self._store.transaction() as tx:
            task = await self._visible(tx, principal, task_id, ProjectRole.EDITOR)
            if await once.result(tx) is not None:
                return task
            await once.keep(tx, task_id)
            if task.state.final:
                raise ConflictError("TASK_OVER", f"task {task_id} has ended already: it is {task.state.value}")
            await tx.audit.add("task.cancel", task_id, actor=principal.actor, project_id=task.project_id)
            return await self.cancel_in(tx, task)

    async def cancel_in(self, tx: Transaction, task: Task) -> Task:
        """Cancels a task inside the caller's unit of work."""
        if task.state in {TaskState.BLOCKED, TaskState.QUEUED}:
            failure = Failure(FailureReason.CANCELLED, "cancelled before it started")
            return await self._settlement.end(tx, task, TaskState.CANCELLED, failure=failure, outputs=())
        after = cancelled(task, at=tx.now())
        if after is task:
            return task
        after = await swap(tx, task, after)
        owner = task.lease.owner
        await tx.workers.add_directive(owner, DirectiveKind.CANCEL, task_id=task.id, lease_epoch=task.lease.epoch)
        tx.on_commit(lambda: self._wakes.ring(owner))
        tx.on_commit(lambda: self._wakes.task_changed(task.id))
        return after

    async def retry(self, principal: Principal, task_id: str, *, fresh: bool = False, request_id: str = "") -> Task:
        """Queues a failed or cancelled task again, with its budgets whole; its run is built anew.

        It goes on from its last checkpoint, where there is one, unless it shall begin fresh.
        """
        once = Once(principal.actor, "task.retry", request_id)
        async with self._store.transaction() as tx:
            task = await self._visible(tx, principal, task_id, ProjectRole.EDITOR)
            if await once.result(tx) is not None:
                return task
            await once.keep(tx, task_id)
            if task.state not in {TaskState.FAILED, TaskState.CANCELLED}:
                raise ConflictError(
                    "TASK_NOT_OVER",
                    f"task {task_id} is {task.state.value}; only failed and cancelled tasks can be retried",
                )
            left = 0
            for parent_id in await tx.tasks.parents(task_id):
                parent = await tx.tasks.get(parent_id)
                if parent.state in {TaskState.FAILED, TaskState.CANCELLED}:
                    # Nothing would ever unblock it.
                    raise ConflictError(
                        "DEPENDENCY_FAILED",
                        f"task {parent_id} that this one waits for is {parent.state.value}; retry that one first",
                    )
                left += parent.state is not TaskState.SUCCEEDED
            if fresh:
                await tx.tasks.drop_checkpoint(task_id)
            again = await swap(tx, task, again_from_start(task, deps_left=left, at=tx.now()))
            await tx.audit.add("task.retry", task_id, actor=principal.actor, project_id=task.project_id)
            tx.on_commit(self._wakes.placer.set)
            tx.on_commit(lambda: self._wakes.task_changed(task_id))
            return again

    async def set_priority(self, principal: Principal, task_id: str, priority: int, *, request_id: str = "") -> Task:
        """Changes a task's priority; it counts while the task waits."""
        once = Once(principal.actor, "task.set", request_id)
        async with self._store.transaction() as tx:
            task = await self._visible(tx, principal, task_id, ProjectRole.EDITOR)
            if await once.result(tx) is not None:
                return task
            await once.keep(tx, task_id)
            check_priority(priority, administrator=principal.is_administrator)
            if task.state.final:
                raise ConflictError("TASK_OVER", f"task {task_id} has ended already: it is {task.state.value}")
            after = await swap(tx, task, replace(task, priority=priority, updated_at=tx.now()))
            detail = {"from": task.priority, "to": priority}
            await tx.audit.add("task.set", task_id, actor=principal.actor, project_id=task.project_id, detail=detail)
            tx.on_commit(lambda: self._wakes.task_changed(task_id))
            return after

    async def _visible(self, tx: Transaction, principal: Principal, task_id: str, role: ProjectRole) -> Task:
        task = await tx.tasks.get(task_id)
        await self._enter(tx, principal, task.project_id, role)
        return task


def _new(task_id: str, wish: NewTask, *, deps_left: int, at: datetime) -> Task:
    limits = wish.limits
    wait_s = 0.0 if deps_left else limits.start_timeout_s
    return Task(
        id=task_id,
        kind=wish.kind,
        project_id=wish.project_id,
        title=wish.title,
        state=TaskState.BLOCKED if deps_left else TaskState.QUEUED,
        created_at=at,
        updated_at=at,
        spec=wish.spec,
        created_by=wish.created_by,
        priority=wish.priority,
        requires=wish.requires,
        resources=wish.resources,
        limits=limits,
        subject=wish.subject,
        deps_left=deps_left,
        start_before=at + timedelta(seconds=wait_s) if wait_s else None,
        budget=Budget(infrastructure=wish.infrastructure_retries, user=wish.user_retries),
        options=wish.options,
        lost_after_s=wish.lost_after_s,
    )


async def _view(tx: Transaction, task: Task, *, last_only: bool = False) -> TaskView:
    attempts = await tx.tasks.attempts(task.id)
    user_name = ""
    workers = dict[str, str]()
    for worker_id in {attempt.worker_id for attempt in (attempts[-1:] if last_only else attempts)}:
        with suppress(NotFoundError):
            workers[worker_id] = (await tx.workers.get(worker_id)).name
    with suppress(NotFoundError):
        user_name = (await tx.users.get(task.created_by)).name if task.created_by else ""
    worker_name = workers.get(attempts[-1].worker_id, "") if attempts else ""
    checkpoint = await tx.tasks.checkpoint(task.id) if attempts and not last_only else None
    parents = await tx.tasks.parents(task.id)
    return TaskView(task, attempts, parents, worker_name, user_name, workers=workers, checkpoint=checkpoint)
