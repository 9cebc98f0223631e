"""The tasks in SQL."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Select, delete, insert, or_, select, update

from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import HELD, TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.task import TaskFilter
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.task_table import (
    attempt_values,
    attempts,
    fixed_values,
    moving_values,
    outputs,
    requires_text,
    task_edges,
    task_plans,
    tasks,
    to_attempt,
    to_plan,
    to_task,
)

_HELD = sorted(state.value for state in HELD)
_QUEUED = TaskState.QUEUED.value


class SqlTaskRows:
    """The tasks on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, task_id: str) -> Task:
        """Returns the task, or raises NotFoundError."""
        found = await self._tasks(select(tasks).where(tasks.c.id == task_id))
        if not found:
            raise NotFoundError("TASK_NOT_FOUND", f"there is no task {task_id}; list them with `lode task ls`")
        return found[0]

    async def insert(self, task: Task, *, depends_on: Sequence[str]) -> None:
        """Stores a new task and whom it waits for."""
        await self._connection.execute(insert(tasks), {**fixed_values(task), **moving_values(task)})
        edges = [{"parent_id": parent, "child_id": task.id} for parent in dict.fromkeys(depends_on)]
        if edges:
            await self._connection.execute(insert(task_edges), edges)

    async def swap(self, old: Task, new: Task) -> bool:
        """Stores new with the next revision if the row still has old's revision, state and epoch; says whether."""
        guarded = update(tasks).where(
            tasks.c.id == old.id,
            tasks.c.revision == old.revision,
            tasks.c.state == old.state.value,
            tasks.c.lease_epoch == old.lease.epoch,
        )
        values = {**moving_values(new), "revision": old.revision + 1}
        return (await self._connection.execute(guarded.values(values))).rowcount == 1

    async def list(self, which: TaskFilter) -> Sequence[Task]:
        """Returns tasks, newest first."""
        query = select(tasks).order_by(tasks.c.id.desc()).limit(which.limit)
        if which.project_ids is not None:
            query = query.where(tasks.c.project_id.in_(which.project_ids))
        if which.states:
            query = query.where(tasks.c.state.in_([state.value for state in which.states]))
        if which.kinds:
            query = query.where(tasks.c.kind.in_(which.kinds))
        if which.before_id:
            query = query.where(tasks.c.id < which.before_id)
        return await self._tasks(query)

    async def parents(self, task_id: str) -> Sequence[str]:
        """Returns the ids of the tasks that it waits for."""
        query = select(task_edges.c.parent_id).where(task_edges.c.child_id == task_id).order_by(task_edges.c.parent_id)
        return (await self._connection.execute(query)).scalars().all()

    async def children(self, task_id: str) -> Sequence[Task]:
        """Returns the tasks that wait for it."""
        joined = select(tasks).join(task_edges, task_edges.c.child_id == tasks.c.id)
        return await self._tasks(joined.where(task_edges.c.parent_id == task_id).order_by(tasks.c.id))

    async def unplanned(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks whose run is not built yet, those of high priority and age first."""
        query = select(tasks).where(tasks.c.state == _QUEUED, tasks.c.planned.is_(False))
        return await self._tasks(query.order_by(tasks.c.priority.desc(), tasks.c.id).limit(limit))

    async def put_plan(self, task_id: str, plan: RunSpec) -> None:
        """Stores the run of a task, in place of an earlier one."""
        await self._connection.execute(delete(task_plans).where(task_plans.c.task_id == task_id))
        await self._connection.execute(insert(task_plans), {"task_id": task_id, "plan": asdict(plan)})

    async def plan(self, task_id: str) -> RunSpec:
        """Returns the run of a task."""
        query = select(task_plans.c.plan).where(task_plans.c.task_id == task_id)
        return to_plan((await self._connection.execute(query)).scalar_one())

    async def claimable_requirements(self) -> Sequence[frozenset[str]]:
        """Returns what the tasks that could be granted require, each set once."""
        query = select(tasks.c.requires).distinct().where(tasks.c.state == _QUEUED, tasks.c.planned.is_(True))
        return [frozenset(text.split()) for text in (await self._connection.execute(query)).scalars()]

    async def claimable(
        self, requirements: Sequence[frozenset[str]], *, most_gpus: int, now: datetime, limit: int
    ) -> Sequence[Task]:
        """Returns tasks that could be granted, those of high priority and age first."""
        query = select(tasks).where(
            tasks.c.state == _QUEUED,
            tasks.c.planned.is_(True),
            tasks.c.requires.in_([requires_text(one) for one in requirements]),
            tasks.c.gpus <= most_gpus,
            or_(tasks.c.not_before.is_(None), tasks.c.not_before <= now),
        )
        return await self._tasks(query.order_by(tasks.c.priority.desc(), tasks.c.id).limit(limit))

    async def held_by(self, worker_id: str) -> Sequence[Task]:
        """Returns the tasks whose lease the worker holds."""
        query = select(tasks).where(tasks.c.lease_owner == worker_id, tasks.c.state.in_(_HELD))
        return await self._tasks(query.order_by(tasks.c.id))

    async def expired(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns held tasks that are silent past their expiry and not suspect yet."""
        query = select(tasks).where(
            tasks.c.state.in_(_HELD), tasks.c.lease_expires_at < now, tasks.c.lease_suspect_at.is_(None)
        )
        return await self._tasks(query.limit(limit))

    async def suspects(self, *, limit: int) -> Sequence[Task]:
        """Returns held tasks that are suspect."""
        query = select(tasks).where(tasks.c.state.in_(_HELD), tasks.c.lease_suspect_at.is_not(None))
        return await self._tasks(query.order_by(tasks.c.lease_suspect_at).limit(limit))

    async def finishing(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns FINISHING tasks whose time has come."""
        query = select(tasks).where(
            tasks.c.state == TaskState.FINISHING.value,
            or_(tasks.c.not_before.is_(None), tasks.c.not_before <= now),
        )
        return await self._tasks(query.order_by(tasks.c.id).limit(limit))

    async def waiting(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks with a built run, oldest first."""
        query = select(tasks).where(tasks.c.state == _QUEUED, tasks.c.planned.is_(True))
        return await self._tasks(query.order_by(tasks.c.id).limit(limit))

    async def add_attempt(self, attempt: Attempt) -> None:
        """Stores a new attempt."""
        await self._connection.execute(insert(attempts), attempt_values(attempt))

    async def attempt(self, task_id: str, lease_epoch: int) -> Attempt | None:
        """Returns the attempt of an epoch, or None."""
        query = select(attempts).where(attempts.c.task_id == task_id, attempts.c.lease_epoch == lease_epoch)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else to_attempt(row)

    async def attempts(self, task_id: str) -> Sequence[Attempt]:
        """Returns the attempts of a task, oldest first."""
        query = select(attempts).where(attempts.c.task_id == task_id).order_by(attempts.c.lease_epoch)
        return [to_attempt(row) for row in (await self._connection.execute(query)).mappings()]

    async def put_attempt(self, attempt: Attempt) -> None:
        """Stores how an attempt stands."""
        row = update(attempts).where(
            attempts.c.task_id == attempt.task_id, attempts.c.lease_epoch == attempt.lease_epoch
        )
        await self._connection.execute(row.values(attempt_values(attempt)))

    async def put_outputs(self, task_id: str, lease_epoch: int, left: Sequence[Output]) -> None:
        """Stores what an attempt left."""
        old = delete(outputs).where(outputs.c.task_id == task_id, outputs.c.lease_epoch == lease_epoch)
        await self._connection.execute(old)
        rows = [{"task_id": task_id, "lease_epoch": lease_epoch, **asdict(one)} for one in left]
        if rows:
            await self._connection.execute(insert(outputs), rows)

    async def outputs(self, task_id: str, lease_epoch: int) -> Sequence[Output]:
        """Returns what an attempt left, by role."""
        query = select(outputs.c.role, outputs.c.digest, outputs.c.size_bytes).where(
            outputs.c.task_id == task_id, outputs.c.lease_epoch == lease_epoch
        )
        rows = (await self._connection.execute(query.order_by(outputs.c.role))).mappings()
        return [Output(**row) for row in rows]

    async def _tasks(self, query: Select[tuple[object, ...]]) -> Sequence[Task]:
        return [to_task(row) for row in (await self._connection.execute(query)).mappings()]
