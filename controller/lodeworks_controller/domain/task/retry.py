"""What becomes of a task after an attempt ended: another attempt, or the end."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lodeworks_controller.domain.task.lease import moved, released
from lodeworks_controller.domain.task.options import INFRASTRUCTURE_RETRIES
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Budget, Failure, Task

_FINAL_REASONS = frozenset({FailureReason.BAD_INPUT, FailureReason.BAD_OUTPUT, FailureReason.CANCELLED})
"""What another attempt cannot change."""

LONGEST_PAUSE = timedelta(minutes=5)
"""Between two tries: a task that shall wait for longer was told so before the clock was set back, and waits no more."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt: doubling, bounded, spread by chance."""

    first_s: float = 2.0
    longest_s: float = LONGEST_PAUSE.total_seconds()

    def delay(self, attempt: int, *, chance: float) -> timedelta:
        """Returns the wait after the attempt of that number; chance is between 0 and 1."""
        whole = min(self.longest_s, self.first_s * 2 ** max(0, attempt - 1))
        return timedelta(seconds=whole * (0.5 + chance / 2))


def is_due(task: Task, *, at: datetime) -> bool:
    """Says whether a task has no pause, or its pause is over."""
    return task.not_before is None or not at < task.not_before <= at + LONGEST_PAUSE


def after_failure(task: Task, failure: Failure, *, at: datetime, backoff: Backoff, chance: float) -> Task:
    """Returns the task after a failed attempt: QUEUED with one try less, or FINISHING to settle what there is.

    The platform's failures and the user's have budgets of their own. A task that is being cancelled is not tried again.
    """
    if task.state is not TaskState.CANCELLING and failure.reason not in _FINAL_REASONS:
        budget = _spend(task, failure.reason)
        if budget is not None:
            again = released(moved(task, TaskState.QUEUED, at=at))
            wait = backoff.delay(task.attempt_no, chance=chance)
            return replace(
                again,
                budget=budget,
                not_before=at + wait,
                failure=failure,
                waiting_reason=f"attempt {task.attempt_no} failed ({failure.message}); the next follows soon",
            )
    return replace(released(moved(task, TaskState.FINISHING, at=at)), failure=failure)


def again_from_start(task: Task, *, deps_left: int, at: datetime) -> Task:
    """Returns a failed or cancelled task as a person's retry leaves it: waiting, with its budgets whole."""
    asked = task.options
    infrastructure = asked.infrastructure_retries
    return replace(
        moved(task, TaskState.BLOCKED if deps_left else TaskState.QUEUED, at=at),
        deps_left=deps_left,
        planned=False,
        not_before=None,
        ended_at=None,
        failure=None,
        finish_tries=0,
        results=(),
        waiting_reason="",
        budget=Budget(
            infrastructure=INFRASTRUCTURE_RETRIES if infrastructure is None else infrastructure, user=asked.retries or 0
        ),
        reused=False,
    )


def _spend(task: Task, reason: FailureReason) -> Budget | None:
    budget = task.budget
    if reason.infrastructure:
        return replace(budget, infrastructure=budget.infrastructure - 1) if budget.infrastructure > 0 else None
    return replace(budget, user=budget.user - 1) if budget.user > 0 else None
