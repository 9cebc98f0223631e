"""Tasks for people and for the other services: submit, look, wait, cancel, retry."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.project import Project
from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.lane import Lane
from lodeworks_controller.domain.task.lease import cancelled, moved
from lodeworks_controller.domain.task.placement_order import check_priority
from lodeworks_controller.domain.task.quota import Use
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Budget, Failure, NewTask, Task
from lodeworks_controller.domain.worker import DirectiveKind
from lodeworks_controller.errors import ConflictError, NotFoundError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

_MOST_PROJECTS = 10_000

Enter = Callable[[Transaction, Principal, str, ProjectRole], Awaitable[Project]]
"""Returns the project of that name or id, or refuses a caller who has not the role there."""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows."""

    project_ids: frozenset[str] | None = None
    """None = of every project."""
    states: frozenset[TaskState] = frozenset()
    kinds: frozenset[str] = frozenset()
    before_id: str = ""
    limit: int = 100


class TaskRows(Protocol):
    """The tasks as one transaction sees them. No method commits."""

    async def get(self, task_id: str) -> Task:
        """Returns the task, or raises NotFoundError."""
        ...

    async def insert(self, task: Task, *, depends_on: Sequence[str]) -> None:
        """Stores a new task and whom it waits for."""
        ...

    async def swap(self, old: Task, new: Task) -> bool:
        """Stores new with the next revision if the row still has old's revision, state and epoch; says whether."""
        ...

    async def list(self, which: TaskFilter) -> Sequence[Task]:
        """Returns tasks, newest first."""
        ...

    async def counts(self) -> Mapping[TaskState, int]:
        """Returns how many tasks there are in each state that has some."""
        ...

    async def parents(self, task_id: str) -> Sequence[str]:
        """Returns the ids of the tasks that it waits for."""
        ...

    async def children(self, task_id: str) -> Sequence[Task]:
        """Returns the tasks that wait for it."""
        ...

    async def unplanned(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks whose run is not built yet, those of high priority and age first."""
        ...

    async def put_plan(self, task_id: str, plan: RunSpec) -> None:
        """Stores the run of a task, in place of an earlier one."""
        ...

    async def plan(self, task_id: str) -> RunSpec:
        """Returns the run of a task."""
        ...

    async def lanes(self) -> Sequence[Lane]:
        """Returns the lanes in which tasks wait for a worker."""
        ...

    async def front(self, lane: Lane, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns the first tasks of a lane whose time has come, those of high priority and age first."""
        ...

    async def uses(self) -> Mapping[tuple[str, str], Use]:
        """Returns what runs, by project and user."""
        ...

    async def waiting_count(self, *, project_id: str = "", user_id: str = "") -> int:
        """Returns how many tasks of a project, or of a user, wait for parents or for a worker."""
        ...

    async def many(self, task_ids: Collection[str]) -> Sequence[Task]:
        """Returns those of the tasks that there are."""
        ...

    async def held_by(self, worker_id: str) -> Sequence[Task]:
        """Returns the tasks whose lease the worker holds."""
        ...

    async def expired(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns held tasks that are silent past their expiry and not suspect yet."""
        ...

    async def suspects(self, *, limit: int) -> Sequence[Task]:
        """Returns held tasks that are suspect."""
        ...

    async def finishing(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns FINISHING tasks whose time has come."""
        ...

    async def waiting(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks with a built run, oldest first."""
        ...

    async def add_attempt(self, attempt: Attempt) -> None:
        """Stores a new attempt."""
        ...

    async def attempt(self, task_id: str, lease_epoch: int) -> Attempt | None:
        """Returns the attempt of an epoch, or None."""
        ...

    async def attempts(self, task_id: str) -> Sequence[Attempt]:
        """Returns the attempts of a task, oldest first."""
        ...

    async def put_attempt(self, attempt: Attempt) -> None:
        """Stores how an attempt stands."""
        ...

    async def put_outputs(self, task_id: str, lease_epoch: int, left: Sequence[Output]) -> None:
        """Stores what an attempt left."""
        ...

    async def outputs(self, task_id: str, lease_epoch: int) -> Sequence[Output]:
        """Returns what an attempt left, by role."""
        ...


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task with what people want to see beside it."""

    task: Task
    attempts: Sequence[Attempt]
    """Oldest first."""
    parents: Sequence[str]
    worker_name: str
    user_name: str


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

    async def submit(self, tx: Transaction, wish: NewTask) -> Task:
        """Makes a task inside the caller's unit of work: QUEUED, or BLOCKED while parents are not done."""
        left = 0
        for parent_id in wish.depends_on:
            parent = await tx.tasks.get(parent_id)
            if parent.state in {TaskState.FAILED, TaskState.CANCELLED}:
                raise ConflictError(
                    "DEPENDENCY_FAILED", f"task {parent_id} that this one would wait for is {parent.state.value}"
                )
            left += parent.state is not TaskState.SUCCEEDED
        now = tx.now()
        task = Task(
            id=self._ids(),
            kind=wish.kind,
            project_id=wish.project_id,
            title=wish.title,
            state=TaskState.BLOCKED if left else TaskState.QUEUED,
            created_at=now,
            updated_at=now,
            spec=wish.spec,
            created_by=wish.created_by,
            priority=wish.priority,
            requires=wish.requires,
            resources=wish.resources,
            limits=wish.limits,
            subject=wish.subject,
            deps_left=left,
            budget=Budget(infrastructure=wish.infrastructure_retries, user=wish.user_retries),
            lost_after_s=wish.lost_after_s,
        )
        await tx.tasks.insert(task, depends_on=wish.depends_on)
        actor = f"user:{wish.created_by}" if wish.created_by else "controller"
        await tx.audit.add("task.submit", task.id, actor=actor, project_id=task.project_id, detail={"kind": task.kind})
        if not left:
            tx.on_commit(self._wakes.placer.set)
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
            return [await _view(tx, task) for task in await tx.tasks.list(which)]

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

    async def retry(self, principal: Principal, task_id: str, *, request_id: str = "") -> Task:
        """Queues a failed or cancelled task again; its run is built anew."""
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
                left += (await tx.tasks.get(parent_id)).state is not TaskState.SUCCEEDED
            state = TaskState.BLOCKED if left else TaskState.QUEUED
            again = replace(
                moved(task, state, at=tx.now()),
                deps_left=left,
                planned=False,
                not_before=None,
                ended_at=None,
                failure=None,
                finish_tries=0,
                results=(),
                waiting_reason="",
            )
            again = await swap(tx, task, again)
            await tx.audit.add("task.retry", task_id, actor=principal.actor, project_id=task.project_id)
            tx.on_commit(self._wakes.placer.set)
            tx.on_commit(lambda: self._wakes.task_changed(task_id))
            return again

    async def _visible(self, tx: Transaction, principal: Principal, task_id: str, role: ProjectRole) -> Task:
        task = await tx.tasks.get(task_id)
        await self._enter(tx, principal, task.project_id, role)
        return task


async def _view(tx: Transaction, task: Task) -> TaskView:
    attempts = await tx.tasks.attempts(task.id)
    worker_name = user_name = ""
    with suppress(NotFoundError):
        worker_name = (await tx.workers.get(attempts[-1].worker_id)).name if attempts else ""
    with suppress(NotFoundError):
        user_name = (await tx.users.get(task.created_by)).name if task.created_by else ""
    return TaskView(task, attempts, await tx.tasks.parents(task.id), worker_name, user_name)
