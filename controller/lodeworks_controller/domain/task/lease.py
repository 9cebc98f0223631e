"""What a lease allows: grants, reports, silence and return. Pure: each answers the task as it is afterwards."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lodeworks_controller.domain.task.state import HELD, TaskState, check_move
from lodeworks_controller.domain.task.task import Lease, Task
from lodeworks_controller.errors import StaleLeaseError


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The rhythm between controller and worker."""

    poll_wait_s: float = 20.0
    report_interval_s: float = 10.0
    ttl_s: float = 45.0
    resend_after_s: float = 2.0
    """How old an unreported grant is before it is sent again."""

    def expiry(self, at: datetime) -> datetime:
        """Returns when a lease that was heard of now ends."""
        return at + timedelta(seconds=self.ttl_s)


def moved(task: Task, state: TaskState, *, at: datetime, **changes: Any) -> Task:
    """Returns the task in another state, with what else changes, or refuses.

    One that is queued has its time to start from now on.
    """
    check_move(task.id, task.state, state)
    wait_s = task.limits.start_timeout_s
    start_before = at + timedelta(seconds=wait_s) if wait_s and state is TaskState.QUEUED else None
    return replace(task, state=state, updated_at=at, start_before=start_before, **changes)


def holds(task: Task, *, worker_id: str, lease_epoch: int) -> bool:
    """Says whether the worker's epoch is the one that counts."""
    return task.state in HELD and task.lease.epoch == lease_epoch and task.lease.owner == worker_id


def check_held(task: Task, *, worker_id: str, lease_epoch: int) -> None:
    """Refuses a write with an old epoch."""
    if not holds(task, worker_id=worker_id, lease_epoch=lease_epoch):
        raise StaleLeaseError(task.id, lease_epoch=lease_epoch)


def granted(task: Task, *, worker_id: str, at: datetime, terms: LeaseTerms) -> Task:
    """Returns the task leased to the worker with a fresh epoch."""
    lease = Lease(owner=worker_id, epoch=task.lease.epoch + 1, expires_at=terms.expiry(at), granted_at=at)
    return moved(
        task,
        TaskState.LEASED,
        at=at,
        lease=lease,
        attempt_no=task.attempt_no + 1,
        waiting_reason="",
        progress=-1.0,
        phase="",
        message="",
        failure=None,
        started_at=at,
    )


def reported(task: Task, *, at: datetime, terms: LeaseTerms, phase: str, progress: float, message: str) -> Task:
    """Returns the task after its holder spoke of it: alive, and no longer suspect.

    A task that is being cancelled stays so; its expiry moves on, since its worker is at work on it.
    """
    state = TaskState.CANCELLING if task.state is TaskState.CANCELLING else TaskState.RUNNING
    lease = replace(task.lease, expires_at=terms.expiry(at), listed=True, suspect_at=None)
    task = task if task.state is state else moved(task, state, at=at)
    changed = (task.phase, task.progress, task.message) != (phase, progress, message)
    return replace(
        task,
        lease=lease,
        phase=phase,
        progress=progress,
        message=message,
        updated_at=at if changed else task.updated_at,
    )


def suspected(task: Task, *, at: datetime) -> Task:
    """Returns the task after its lease expired: the epoch stays valid and the GPUs stay held."""
    lease = replace(task.lease, suspect_at=at)
    if task.state is TaskState.CANCELLING:
        return replace(task, lease=lease, updated_at=at)
    return moved(task, TaskState.SUSPECT, at=at, lease=lease)


def overdue(task: Task, *, at: datetime) -> bool:
    """Says whether a suspect task has been waited for long enough."""
    since = task.lease.suspect_at
    return since is not None and at - since >= timedelta(seconds=task.lost_after_s)


def released(task: Task) -> Task:
    """Returns the task without a holder; the epoch stays, so that the next one is higher."""
    return replace(task, lease=let_go(task.lease))


def let_go(lease: Lease) -> Lease:
    """Returns a lease that nobody holds any more, with its epoch."""
    return replace(lease, owner="", expires_at=None, suspect_at=None, listed=False)


def revived(task: Task, *, worker_id: str, at: datetime, terms: LeaseTerms) -> Task:
    """Returns a task, queued again after its worker was lost, as held by that worker with its old epoch.

    Right only while nobody else was granted it: the epoch has not moved.
    """
    lease = replace(task.lease, owner=worker_id, expires_at=terms.expiry(at), listed=True, suspect_at=None)
    return replace(
        task, state=TaskState.RUNNING, lease=lease, not_before=None, start_before=None, waiting_reason="", updated_at=at
    )


def cancelled(task: Task, *, at: datetime) -> Task:
    """Returns the task after a cancel: over at once where no worker holds it, else on its way."""
    if task.state in {TaskState.BLOCKED, TaskState.QUEUED}:
        return moved(task, TaskState.CANCELLED, at=at, ended_at=at)
    if task.state in {TaskState.CANCELLING, TaskState.FINISHING}:
        return task
    return moved(task, TaskState.CANCELLING, at=at)
