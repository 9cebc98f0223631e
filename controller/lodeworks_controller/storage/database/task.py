"""The tasks in SQL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, ScalarSelect, Select, Update, bindparam, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_into  # SQLite shares its ON CONFLICT

from lodeworks_controller.domain.task.attempt import Attempt, Checkpoint
from lodeworks_controller.domain.task.lane import Head, Lane, read_lane
from lodeworks_controller.domain.task.quota import Use
from lodeworks_controller.domain.task.retry import LONGEST_PAUSE
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import HELD, TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.task_rows import TaskFilter
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Instant
from lodeworks_controller.storage.database.task_table import (
    attempt_values,
    attempts,
    checkpoints,
    fixed_values,
    moving_values,
    outputs,
    plan_value,
    task_edges,
    task_plans,
    tasks,
    to_attempt,
    to_plan,
    to_task,
)

_HELD = sorted(state.value for state in HELD)
_QUEUED = TaskState.QUEUED.value

# Built once: building a statement costs several times what running it costs.
_GET = prepared(select(tasks).where(tasks.c.id == bindparam("task_id")))
_REVISION = prepared(select(tasks.c.revision).where(tasks.c.id == bindparam("task_id")))
_INSERT = prepared(insert(tasks))
_SWAP = update(tasks).where(
    tasks.c.id == bindparam("old_id"),
    tasks.c.revision == bindparam("old_revision"),
    tasks.c.state == bindparam("old_state"),
    tasks.c.lease_epoch == bindparam("old_epoch"),
)


@cache
def _swap(names: tuple[str, ...]) -> Update:
    """Returns the swap that changes these columns: a column that is named costs its indexes, changed or not."""
    return prepared(_SWAP.values({name: bindparam(name) for name in names}))


_PARENTS = (
    select(task_edges.c.parent_id).where(task_edges.c.child_id == bindparam("task_id")).order_by(task_edges.c.parent_id)
)
_CHILDREN = prepared(
    select(tasks)
    .join(task_edges, task_edges.c.child_id == tasks.c.id)
    .where(task_edges.c.parent_id == bindparam("task_id"))
    .order_by(tasks.c.id)
)
_UNPLANNED = prepared(
    select(tasks)
    .where(tasks.c.state == _QUEUED, tasks.c.planned.is_(False))
    .order_by(tasks.c.rank, tasks.c.id)
    .limit(bindparam("most"))
)
_ANY_PLAN = insert_into(task_plans)
_PUT_PLAN = prepared(
    _ANY_PLAN.on_conflict_do_update(index_elements=["task_id"], set_={"plan": _ANY_PLAN.excluded.plan})
)
_PLAN = prepared(select(task_plans.c.plan).where(task_plans.c.task_id == bindparam("task_id")))
_PLAN_IDS = tuple(f"id_{place}" for place in range(16))
# A prepared statement has no list; one of a fixed length is filled up with its last.
_PLANS = prepared(
    select(task_plans.c.task_id, task_plans.c.plan).where(
        task_plans.c.task_id.in_([bindparam(name) for name in _PLAN_IDS])
    )
)
_READY = (tasks.c.state == _QUEUED, tasks.c.planned.is_(True))
_FIRST_LANE = select(func.min(tasks.c.lane).label("lane")).where(*_READY).cte("lanes", recursive=True)
# Each lane is found from the one before by one step in the index; the tasks that wait in them are not read.
_FOUND_LANES = _FIRST_LANE.union_all(
    select(select(func.min(tasks.c.lane)).where(*_READY, tasks.c.lane > _FIRST_LANE.c.lane).scalar_subquery()).where(
        _FIRST_LANE.c.lane.is_not(None)
    )
)
_DUE = or_(
    tasks.c.not_before.is_(None),
    tasks.c.not_before <= bindparam("now", type_=Instant),
    tasks.c.not_before > bindparam("beyond", type_=Instant),  # of a clock that was set back since
)


def _of_first(column: Column[Any]) -> ScalarSelect[Any]:
    """Returns a column of the task that stands first in a lane that was found."""
    first = select(column).where(*_READY, tasks.c.lane == _FOUND_LANES.c.lane, _DUE)
    return first.order_by(tasks.c.rank, tasks.c.id).limit(1).correlate(_FOUND_LANES).scalar_subquery()


_HEADS = prepared(
    select(_FOUND_LANES.c.lane, _of_first(tasks.c.id).label("id"), _of_first(tasks.c.rank).label("rank")).where(
        _FOUND_LANES.c.lane.is_not(None)
    )
)
_FRONT = prepared(
    select(tasks)
    .where(*_READY, tasks.c.lane == bindparam("lane"), _DUE)
    .order_by(tasks.c.rank, tasks.c.id)
    .limit(bindparam("most"))
)
_USES = (
    select(
        tasks.c.project_id,
        tasks.c.created_by,
        func.count().label("runs"),
        func.sum(tasks.c.gpus).label("gpus"),
        func.sum(case((tasks.c.gpus == 0, 1), else_=0)).label("runs_without"),
    )
    .where(tasks.c.state.in_(_HELD))
    .group_by(tasks.c.project_id, tasks.c.created_by)
)
_WAITING_STATES = (TaskState.BLOCKED.value, _QUEUED)
_HELD_BY = prepared(
    select(tasks).where(tasks.c.lease_owner == bindparam("worker_id"), tasks.c.state.in_(_HELD)).order_by(tasks.c.id)
)
_UNLISTED = prepared(
    select(tasks).where(
        tasks.c.lease_owner == bindparam("worker_id"),
        tasks.c.state == TaskState.LEASED.value,
        tasks.c.lease_listed.is_(False),
        or_(
            tasks.c.lease_granted_at.is_(None),
            tasks.c.lease_granted_at <= bindparam("granted_before", type_=Instant),
        ),
    )
)
_UNLISTED_OWNERS = prepared(
    select(tasks.c.lease_owner)
    .distinct()
    .where(
        tasks.c.state == TaskState.LEASED.value,
        tasks.c.lease_listed.is_(False),
        or_(
            tasks.c.lease_granted_at.is_(None),
            tasks.c.lease_granted_at <= bindparam("granted_before", type_=Instant),
        ),
    )
)
_PROLONG = (
    update(tasks)
    .where(
        tasks.c.id == bindparam("old_id"),
        tasks.c.lease_epoch == bindparam("old_epoch"),
        # Not IN: several rows at once take no list.
        or_(tasks.c.state == TaskState.LEASED.value, tasks.c.state == TaskState.RUNNING.value),
        tasks.c.lease_suspect_at.is_(None),
    )
    .values(lease_expires_at=bindparam("until", type_=Instant))
)
_OVERDUE_TO_START = (
    select(tasks)
    .where(tasks.c.start_before <= bindparam("now", type_=Instant), tasks.c.state == _QUEUED)
    .order_by(tasks.c.start_before)
    .limit(bindparam("most"))
)
_EQUAL = prepared(
    select(tasks)
    .where(
        tasks.c.reuse_key == bindparam("reuse_key"),
        tasks.c.project_id == bindparam("project_id"),
        tasks.c.state == TaskState.SUCCEEDED.value,
        tasks.c.reused.is_(False),
    )
    .order_by(tasks.c.id.desc())
    .limit(1)
)
_CHECKPOINT = prepared(select(checkpoints).where(checkpoints.c.task_id == bindparam("task_id")))
_NO_CHECKPOINT = delete(checkpoints).where(checkpoints.c.task_id == bindparam("old_id"))
_EXPIRED = prepared(
    select(tasks)
    .where(
        tasks.c.state.in_(_HELD),
        tasks.c.lease_expires_at < bindparam("now", type_=Instant),
        tasks.c.lease_suspect_at.is_(None),
    )
    .limit(bindparam("most"))
)
_SUSPECTS = prepared(
    select(tasks)
    .where(tasks.c.state.in_(_HELD), tasks.c.lease_suspect_at.is_not(None))
    .order_by(tasks.c.lease_suspect_at)
    .limit(bindparam("most"))
)
_FINISHING = prepared(
    select(tasks).where(tasks.c.state == TaskState.FINISHING.value, _DUE).order_by(tasks.c.id).limit(bindparam("most"))
)
_WAITING = prepared(
    select(tasks)
    .where(tasks.c.state == _QUEUED, tasks.c.planned.is_(True))
    .order_by(tasks.c.id)
    .limit(bindparam("most"))
)
_ADD_ATTEMPT = prepared(insert(attempts))
_ATTEMPT = prepared(
    select(attempts).where(
        attempts.c.task_id == bindparam("task_id"), attempts.c.lease_epoch == bindparam("lease_epoch")
    )
)
_ATTEMPTS = select(attempts).where(attempts.c.task_id == bindparam("task_id")).order_by(attempts.c.lease_epoch)
_PUT_ATTEMPT = prepared(
    update(attempts)
    .where(attempts.c.task_id == bindparam("old_id"), attempts.c.lease_epoch == bindparam("old_epoch"))
    .values({column.name: bindparam(column.name) for column in attempts.c if not column.primary_key})
)
_NO_OUTPUTS = delete(outputs).where(
    outputs.c.task_id == bindparam("old_id"), outputs.c.lease_epoch == bindparam("old_epoch")
)
_PUT_OUTPUTS = insert(outputs)
_OUTPUTS = prepared(
    select(outputs.c.role, outputs.c.digest, outputs.c.size_bytes)
    .where(outputs.c.task_id == bindparam("task_id"), outputs.c.lease_epoch == bindparam("lease_epoch"))
    .order_by(outputs.c.role)
)


class SqlTaskRows:
    """The tasks on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, task_id: str) -> Task:
        """Returns the task, or raises NotFoundError."""
        found = await self._tasks(_GET, task_id=task_id)
        if not found:
            raise NotFoundError("TASK_NOT_FOUND", f"there is no task {task_id}; list them with `lode task ls`")
        return found[0]

    async def insert(self, task: Task, *, depends_on: Sequence[str]) -> None:
        """Stores a new task and whom it waits for."""
        await self._connection.execute(_INSERT, {**fixed_values(task), **moving_values(task)})
        edges = [{"parent_id": parent, "child_id": task.id} for parent in dict.fromkeys(depends_on)]
        if edges:
            await self._connection.execute(insert(task_edges), edges)

    async def swap(self, old: Task, new: Task) -> bool:
        """Stores new with the next revision if the row still has old's revision, state and epoch; says whether."""
        guard = {
            "old_id": old.id,
            "old_revision": old.revision,
            "old_state": old.state.value,
            "old_epoch": old.lease.epoch,
        }
        before = moving_values(old)
        changed = {name: value for name, value in moving_values(new).items() if value != before[name]}
        changed["revision"] = old.revision + 1
        return (await self._connection.execute(_swap(tuple(changed)), {**changed, **guard})).rowcount == 1

    async def unchanged(self, task: Task) -> bool:
        """Says whether the row still has the task's revision."""
        found = (await self._connection.execute(_REVISION, {"task_id": task.id})).scalar()
        return bool(found == task.revision)

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

    async def counts(self) -> Mapping[TaskState, int]:
        """Returns how many tasks there are in each state that has some."""
        query = select(tasks.c.state, func.count().label("number")).group_by(tasks.c.state)
        rows = (await self._connection.execute(query)).mappings()
        return {TaskState(row["state"]): row["number"] for row in rows}

    async def parents(self, task_id: str) -> Sequence[str]:
        """Returns the ids of the tasks that it waits for."""
        return (await self._connection.execute(_PARENTS, {"task_id": task_id})).scalars().all()

    async def children(self, task_id: str) -> Sequence[Task]:
        """Returns the tasks that wait for it."""
        return await self._tasks(_CHILDREN, task_id=task_id)

    async def unplanned(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks whose run is not built yet, those of high priority and age first."""
        return await self._tasks(_UNPLANNED, most=limit)

    async def put_plan(self, task_id: str, plan: RunSpec) -> None:
        """Stores the run of a task, in place of an earlier one."""
        await self._connection.execute(_PUT_PLAN, {"task_id": task_id, "plan": plan_value(plan)})

    async def plan(self, task_id: str) -> RunSpec:
        """Returns the run of a task."""
        return to_plan((await self._connection.execute(_PLAN, {"task_id": task_id})).scalar_one())

    async def plans(self, task_ids: Collection[str]) -> Mapping[str, RunSpec]:
        """Returns the runs of tasks by their ids."""
        found: dict[str, RunSpec] = {}
        wanted = list(task_ids)
        for first in range(0, len(wanted), len(_PLAN_IDS)):
            some = wanted[first : first + len(_PLAN_IDS)]
            some += some[-1:] * (len(_PLAN_IDS) - len(some))
            rows = (await self._connection.execute(_PLANS, dict(zip(_PLAN_IDS, some, strict=True)))).mappings()
            found |= {row["task_id"]: to_plan(row["plan"]) for row in rows}
        return found

    async def heads(self, *, now: datetime) -> Sequence[Head]:
        """Returns who stands first in each lane in which a task waits for a worker and its time has come."""
        rows = (await self._connection.execute(_HEADS, {"now": now, "beyond": now + LONGEST_PAUSE})).mappings()
        return [Head(read_lane(row["lane"]), row["id"], -row["rank"]) for row in rows if row["id"] is not None]

    async def front(self, lane: Lane, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns the first tasks of a lane whose time has come, those of high priority and age first."""
        return await self._tasks(_FRONT, lane=str(lane), now=now, beyond=now + LONGEST_PAUSE, most=limit)

    async def uses(self) -> Mapping[tuple[str, str], Use]:
        """Returns what runs, by project and user."""
        rows = (await self._connection.execute(_USES)).mappings()
        return {
            (row["project_id"], row["created_by"]): Use(row["runs"], row["gpus"], row["runs_without"]) for row in rows
        }

    async def waiting_count(self, *, project_id: str = "", user_id: str = "") -> int:
        """Returns how many tasks of a project, or of a user, wait for parents or for a worker."""
        mine = tasks.c.project_id == project_id if project_id else tasks.c.created_by == user_id
        query = select(func.count()).select_from(tasks).where(tasks.c.state.in_(_WAITING_STATES), mine)
        return int((await self._connection.execute(query)).scalar_one())

    async def many(self, task_ids: Collection[str]) -> Sequence[Task]:
        """Returns those of the tasks that there are."""
        return await self._tasks(select(tasks).where(tasks.c.id.in_(task_ids))) if task_ids else ()

    async def held_by(self, worker_id: str) -> Sequence[Task]:
        """Returns the tasks whose lease the worker holds."""
        return await self._tasks(_HELD_BY, worker_id=worker_id)

    async def unlisted(self, worker_id: str, *, granted_before: datetime) -> Sequence[Task]:
        """Returns the worker's grants that no report has listed, and that were sent before a moment or never."""
        return await self._tasks(_UNLISTED, worker_id=worker_id, granted_before=granted_before)

    async def overdue_to_start(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks that should have started by now."""
        return await self._tasks(_OVERDUE_TO_START, now=now, most=limit)

    async def equal_to(self, reuse_key: str, *, project_id: str) -> Task | None:
        """Returns the newest task of a project that succeeded with an equal run of its own; None without one."""
        found = await self._tasks(_EQUAL, reuse_key=reuse_key, project_id=project_id)
        return found[0] if found else None

    async def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Stores a task's newest checkpoint in place of an earlier one."""
        await self.drop_checkpoint(checkpoint.task_id)
        await self._connection.execute(insert(checkpoints), asdict(checkpoint))

    async def checkpoint(self, task_id: str) -> Checkpoint | None:
        """Returns a task's newest checkpoint; None without one."""
        row = (await self._connection.execute(_CHECKPOINT, {"task_id": task_id})).mappings().one_or_none()
        return None if row is None else Checkpoint(**row)

    async def drop_checkpoint(self, task_id: str) -> None:
        """Forgets a task's checkpoint."""
        await self._connection.execute(_NO_CHECKPOINT, {"old_id": task_id})

    async def prolong(self, leases: Mapping[str, int], *, until: datetime) -> None:
        """Moves the expiry of leases, task id → epoch, that are held still and not suspect; no revision rises."""
        rows = [{"old_id": task_id, "old_epoch": epoch, "until": until} for task_id, epoch in sorted(leases.items())]
        if rows:
            await self._connection.execute(_PROLONG, rows)

    async def unlisted_owners(self, *, granted_before: datetime) -> Sequence[str]:
        """Returns the workers whose grants no report has listed, and that were sent before a moment or never."""
        asked = {"granted_before": granted_before}
        return (await self._connection.execute(_UNLISTED_OWNERS, asked)).scalars().all()

    async def expired(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns held tasks that are silent past their expiry and not suspect yet."""
        return await self._tasks(_EXPIRED, now=now, most=limit)

    async def suspects(self, *, limit: int) -> Sequence[Task]:
        """Returns held tasks that are suspect."""
        return await self._tasks(_SUSPECTS, most=limit)

    async def open_counts(self) -> Mapping[tuple[str, TaskState], int]:
        """Returns how many tasks have not ended, by kind and state."""
        still = tasks.c.state.in_([state.value for state in TaskState if not state.final])
        query = select(tasks.c.kind, tasks.c.state, func.count().label("number")).where(still)
        rows = (await self._connection.execute(query.group_by(tasks.c.kind, tasks.c.state))).mappings()
        return {(row["kind"], TaskState(row["state"])): row["number"] for row in rows}

    async def oldest_waiting(self) -> datetime | None:
        """Returns when the oldest task that waits for a worker was made; None when none waits."""
        query = select(tasks.c.created_at).where(tasks.c.state == TaskState.QUEUED.value)
        found: datetime | None = (await self._connection.execute(query.order_by(tasks.c.id).limit(1))).scalar()
        return found

    async def leap(self, by: int) -> None:
        """Puts the epochs of tasks that may run again so much ahead: after a restore, of those given out since."""
        # The outputs of the others are found by their epoch.
        fixed = (TaskState.FINISHING.value, TaskState.SUCCEEDED.value)
        ahead = update(tasks).where(tasks.c.state.not_in(fixed)).values(lease_epoch=tasks.c.lease_epoch + by)
        await self._connection.execute(ahead)

    async def finishing(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns FINISHING tasks whose time has come."""
        return await self._tasks(_FINISHING, now=now, beyond=now + LONGEST_PAUSE, most=limit)

    async def waiting(self, *, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks with a built run, oldest first."""
        return await self._tasks(_WAITING, most=limit)

    async def add_attempt(self, attempt: Attempt) -> None:
        """Stores a new attempt."""
        await self._connection.execute(_ADD_ATTEMPT, attempt_values(attempt))

    async def attempt(self, task_id: str, lease_epoch: int) -> Attempt | None:
        """Returns the attempt of an epoch, or None."""
        asked = {"task_id": task_id, "lease_epoch": lease_epoch}
        row = (await self._connection.execute(_ATTEMPT, asked)).mappings().one_or_none()
        return None if row is None else to_attempt(row)

    async def attempts(self, task_id: str) -> Sequence[Attempt]:
        """Returns the attempts of a task, oldest first."""
        rows = (await self._connection.execute(_ATTEMPTS, {"task_id": task_id})).mappings()
        return [to_attempt(row) for row in rows]

    async def put_attempt(self, attempt: Attempt) -> None:
        """Stores how an attempt stands."""
        values = attempt_values(attempt)
        guard = {"old_id": values.pop("task_id"), "old_epoch": values.pop("lease_epoch")}
        await self._connection.execute(_PUT_ATTEMPT, {**values, **guard})

    async def put_outputs(self, task_id: str, lease_epoch: int, left: Sequence[Output]) -> None:
        """Stores what an attempt left."""
        await self._connection.execute(_NO_OUTPUTS, {"old_id": task_id, "old_epoch": lease_epoch})
        rows = [{"task_id": task_id, "lease_epoch": lease_epoch, **asdict(one)} for one in left]
        if rows:
            await self._connection.execute(_PUT_OUTPUTS, rows)

    async def outputs(self, task_id: str, lease_epoch: int) -> Sequence[Output]:
        """Returns what an attempt left, by role."""
        asked = {"task_id": task_id, "lease_epoch": lease_epoch}
        return [Output(**row) for row in (await self._connection.execute(_OUTPUTS, asked)).mappings()]

    async def _tasks(self, query: Select[tuple[object, ...]], **asked: object) -> Sequence[Task]:
        return [to_task(row) for row in (await self._connection.execute(query, asked)).mappings()]
