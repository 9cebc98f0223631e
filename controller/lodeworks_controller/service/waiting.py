"""Waiting: each task that does not start is told why, and one that may wait no longer is ended."""

from collections.abc import Sequence
from dataclasses import replace

from lodeworks_controller.domain.task.lane import Lane
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.placement import Candidate, unplaceable, waiting_reason
from lodeworks_controller.domain.task.placement_order import Draw
from lodeworks_controller.domain.task.placement_reservation import BIG, Reservation
from lodeworks_controller.domain.task.retry import is_due
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, Task
from lodeworks_controller.domain.worker import WorkerState
from lodeworks_controller.service.choosing import Choosing
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

_BATCH = 256


class Waiting:
    """Looks at the tasks that wait for a worker."""

    def __init__(self, store: Store, *, settlement: Settlement, wakes: Wakes, terms: LeaseTerms) -> None:
        self._store = store
        self._settlement = settlement
        self._wakes = wakes
        self._terms = terms
        self._choosing = Choosing(terms=terms)

    async def explain(self) -> None:
        """Tells each task that waits for a worker why it does, and wakes polls for those whose time has come."""
        async with self._store.snapshot() as tx:
            waiting = await tx.tasks.waiting(limit=_BATCH)
            if not waiting:
                return
            now = tx.now()
            known = await self._candidates(tx)
            draw, kept = await self._rules(tx, waiting)
        names = {one.worker.id: one.worker.name for one in known}
        for task in waiting:
            if not is_due(task, at=now):
                continue
            reason = draw.over_quota(_lane(task))
            if reason:
                reason = f"waits because {reason}"
            else:
                self._wakes.ring_for(task.wants)
                reason = _kept_for(task, kept, names) or waiting_reason(task.wants, known)
            await self._tell(task, reason)

    async def give_up_late(self) -> None:
        """Ends the tasks that should have started by now."""
        async with self._store.snapshot() as tx:
            late = await tx.tasks.overdue_to_start(now=tx.now(), limit=_BATCH)
            known = await self._candidates(tx) if late else ()
        for task in late:
            hopeless = unplaceable(task.wants, known)
            reason = FailureReason.NO_WORKER if hopeless else FailureReason.TIMEOUT
            why = task.waiting_reason or waiting_reason(task.wants, known)
            failure = Failure(reason, f"it did not start within {task.limits.start_timeout_s:g} s: {why}")
            async with self._store.transaction() as tx:
                now = await tx.tasks.get(task.id)
                if now.state is TaskState.QUEUED and now.start_before is not None and now.start_before <= tx.now():
                    await self._settlement.end(tx, now, TaskState.FAILED, failure=failure, outputs=())

    async def _candidates(self, tx: Transaction) -> Sequence[Candidate]:
        gpus = await tx.workers.all_gpus()
        return [
            Candidate(
                worker,
                worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s) is WorkerState.ONLINE,
                len(gpus.get(worker.id, ())),
            )
            for worker in await tx.workers.list()
        ]

    async def _rules(self, tx: Transaction, waiting: Sequence[Task]) -> tuple[Draw[Task], Reservation | None]:
        lanes = list({_lane(task) for task in waiting})
        quotas = await tx.quotas.all()
        bound = any(quotas.limits_runs(lane.project_id, lane.user_id) for lane in lanes)
        held = await tx.tasks.uses() if bound else {}
        big = [lane for lane in lanes if lane.wants.gpus >= BIG]
        found = await self._choosing.reservation(tx, big, quotas=quotas, held=held) if big else None
        return Draw[Task]({}, held=held, quotas=quotas), None if found is None else found[0]

    async def _tell(self, task: Task, reason: str) -> None:
        if task.waiting_reason == reason:
            return
        async with self._store.transaction() as tx:
            await tx.tasks.swap(task, replace(task, waiting_reason=reason, updated_at=tx.now()))
            tx.on_commit(lambda: self._wakes.task_changed(task.id))


def _lane(task: Task) -> Lane:
    return Lane(task.project_id, task.created_by, task.wants)


def _kept_for(task: Task, kept: Reservation | None, names: dict[str, str]) -> str:
    if kept is None or not kept.missing:
        return ""
    worker = names.get(kept.worker_id, kept.worker_id)
    if task.id == kept.task_id:
        return f"worker {worker} is kept for it: {kept.missing} of {kept.wanted} GPUs have still to become free"
    if task.wants.gpus:
        return f"waits for a free GPU; those of worker {worker} are kept for task {kept.task_id}, which is older"
    return ""
