"""How an attempt ends without success, in one unit of work: another follows, or the task is settled."""

from collections.abc import Callable
from dataclasses import replace

from lodeworks_controller.domain.task.attempt import Attempt, Outcome
from lodeworks_controller.domain.task.retry import Backoff, after_failure
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, Task
from lodeworks_controller.service.meter import Meter, NoMeter
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.service.task import swap
from lodeworks_controller.service.wake import Wakes

Chance = Callable[[], float]
"""Returns a number between 0 and 1."""


class AttemptEnd:
    """Ends attempts that did not succeed."""

    def __init__(self, *, wakes: Wakes, backoff: Backoff, chance: Chance, meter: Meter | None = None) -> None:
        self._meter = meter or NoMeter()
        self._wakes = wakes
        self._backoff = backoff
        self._chance = chance

    async def fail(self, tx: Transaction, task: Task, attempt: Attempt, failure: Failure) -> Task:
        """Ends the attempt, frees its GPUs, and queues the task again or hands it to the finisher."""
        await tx.tasks.put_attempt(attempt)
        await tx.workers.free_gpus(task.id)
        after = after_failure(task, failure, at=tx.now(), backoff=self._backoff, chance=self._chance())
        after = await swap(tx, task, after)
        await tx.audit.add(
            "task.attempt_failed",
            task.id,
            project_id=task.project_id,
            detail={"attempt": attempt.number, "reason": failure.reason.value, "worker_id": attempt.worker_id},
        )
        tx.on_commit(self._wakes.finisher.set if after.state is TaskState.FINISHING else self._wakes.placer.set)
        tx.on_commit(lambda: self._wakes.task_changed(task.id))
        outcome = attempt.outcome.value if attempt.outcome else ""
        tx.on_commit(lambda: self._meter.attempt_ended(task.kind, outcome, failure.reason.value))
        return after

    async def lose(self, tx: Transaction, task: Task, *, why: str) -> Task:
        """Ends the attempt of a worker that is silent, or that no longer has the run."""
        cancelling = task.state is TaskState.CANCELLING
        reason = FailureReason.CANCELLED if cancelling else FailureReason.LOST
        failure = Failure(reason, f"cancelled; {why}" if cancelling else why)
        attempt = await tx.tasks.attempt(task.id, task.lease.epoch)
        assert attempt is not None, "each grant makes an attempt"
        ended = replace(attempt, ended_at=tx.now(), outcome=Outcome.LOST, reason=reason, message=why)
        return await self.fail(tx, task, ended, failure)
