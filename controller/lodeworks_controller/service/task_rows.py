"""The tasks as one transaction sees them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.task.attempt import Attempt, Checkpoint
from lodeworks_controller.domain.task.lane import Head, Lane
from lodeworks_controller.domain.task.quota import Use
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task


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

    async def unchanged(self, task: Task) -> bool:
        """Says whether the row still has the task's revision."""
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

    async def plans(self, task_ids: Collection[str]) -> Mapping[str, RunSpec]:
        """Returns the runs of tasks by their ids."""
        ...

    async def heads(self, *, now: datetime) -> Sequence[Head]:
        """Returns who stands first in each lane in which a task waits for a worker and its time has come."""
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

    async def prolong(self, leases: Mapping[str, int], *, until: datetime) -> None:
        """Moves the expiry of leases, task id → epoch, that are held still and not suspect; no revision rises."""
        ...

    async def unlisted_owners(self, *, granted_before: datetime) -> Sequence[str]:
        """Returns the workers whose grants no report has listed, and that were sent before a moment or never."""
        ...

    async def expired(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns held tasks that are silent past their expiry and not suspect yet."""
        ...

    async def suspects(self, *, limit: int) -> Sequence[Task]:
        """Returns held tasks that are suspect."""
        ...

    async def open_counts(self) -> Mapping[tuple[str, TaskState], int]:
        """Returns how many tasks have not ended, by kind and state."""
        ...

    async def oldest_waiting(self) -> datetime | None:
        """Returns when the oldest task that waits for a worker was made; None when none waits."""
        ...

    async def leap(self, by: int) -> None:
        """Puts the epochs of tasks that may run again so much ahead: after a restore, of those given out since."""
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

    async def unlisted(self, worker_id: str, *, granted_before: datetime) -> Sequence[Task]:
        """Returns the worker's grants that no report has listed, and that were sent before a moment or never."""
        ...

    async def overdue_to_start(self, *, now: datetime, limit: int) -> Sequence[Task]:
        """Returns QUEUED tasks that should have started by now."""
        ...

    async def equal_to(self, reuse_key: str, *, project_id: str) -> Task | None:
        """Returns the newest task of a project that succeeded with an equal run of its own; None without one."""
        ...

    async def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Stores a task's newest checkpoint in place of an earlier one."""
        ...

    async def checkpoint(self, task_id: str) -> Checkpoint | None:
        """Returns a task's newest checkpoint; None without one."""
        ...

    async def drop_checkpoint(self, task_id: str) -> None:
        """Forgets a task's checkpoint."""
        ...
