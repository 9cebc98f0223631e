"""Tasks without a database: states, leases, retries, placement."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.domain.task.lane import Wants
from lodeworks_controller.domain.task.lease import (
    LeaseTerms,
    cancelled,
    check_held,
    granted,
    moved,
    overdue,
    released,
    reported,
    revived,
    suspected,
)
from lodeworks_controller.domain.task.placement import Candidate, pick_gpus, waiting_reason
from lodeworks_controller.domain.task.retry import Backoff, after_failure
from lodeworks_controller.domain.task.state import FINAL, HELD, FailureReason, TaskState
from lodeworks_controller.domain.task.task import Budget, Failure, Task
from lodeworks_controller.domain.worker import Capabilities, Gpu, Worker, WorkerState
from lodeworks_controller.errors import ConflictError, StaleLeaseError

AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = LeaseTerms()
QUEUED = Task("t", "nothing", "p", "a task", TaskState.QUEUED, AT, AT)
LEASED = granted(QUEUED, worker_id="w", at=AT, terms=TERMS)


def hear(task: Task, at: datetime = AT) -> Task:
    return reported(task, at=at, terms=TERMS, phase="running", progress=0.5, message="")


def test_final_and_held_states_are_apart() -> None:
    assert not FINAL & HELD
    assert all(state.final == (state in FINAL) for state in TaskState)


@pytest.mark.parametrize("state", sorted(FINAL - {TaskState.FAILED, TaskState.CANCELLED}, key=str))
def test_a_succeeded_task_stays_so(state: TaskState) -> None:
    for after in TaskState:
        with pytest.raises(ConflictError):
            moved(replace(QUEUED, state=state), after, at=AT)


def test_each_grant_has_a_higher_epoch() -> None:
    again = granted(moved(released(LEASED), TaskState.QUEUED, at=AT), worker_id="v", at=AT, terms=TERMS)
    assert (LEASED.lease.epoch, again.lease.epoch) == (1, 2)
    assert (LEASED.attempt_no, again.attempt_no) == (1, 2)


@pytest.mark.parametrize(("worker_id", "lease_epoch"), [("v", 1), ("w", 0), ("w", 2)])
def test_a_write_by_another_or_with_another_epoch_is_refused(worker_id: str, lease_epoch: int) -> None:
    check_held(LEASED, worker_id="w", lease_epoch=1)
    with pytest.raises(StaleLeaseError):
        check_held(LEASED, worker_id=worker_id, lease_epoch=lease_epoch)


def test_a_report_brings_a_suspect_back_and_moves_the_expiry() -> None:
    suspect = suspected(hear(LEASED), at=AT)
    assert suspect.state is TaskState.SUSPECT
    later = AT + timedelta(seconds=100)
    back = hear(suspect, later)
    assert back.state is TaskState.RUNNING
    assert back.lease.suspect_at is None
    assert back.lease.expires_at == later + timedelta(seconds=TERMS.ttl_s)


def test_a_report_that_says_nothing_new_does_not_touch_the_time_of_change() -> None:
    first = hear(LEASED)
    second = hear(first, AT + timedelta(seconds=10))
    assert second.updated_at == first.updated_at


def test_a_suspect_is_overdue_only_after_its_wait() -> None:
    suspect = suspected(hear(LEASED), at=AT)
    assert not overdue(suspect, at=AT + timedelta(seconds=59))
    assert overdue(suspect, at=AT + timedelta(seconds=60))
    assert not overdue(LEASED, at=AT + timedelta(days=1))


def test_a_revived_task_keeps_its_epoch() -> None:
    lost = moved(released(suspected(hear(LEASED), at=AT)), TaskState.QUEUED, at=AT)
    back = revived(lost, worker_id="w", at=AT, terms=TERMS)
    assert (back.state, back.lease.epoch, back.lease.owner) == (TaskState.RUNNING, 1, "w")


def test_a_cancel_ends_what_nobody_holds_and_asks_who_holds() -> None:
    assert cancelled(QUEUED, at=AT).state is TaskState.CANCELLED
    on_its_way = cancelled(LEASED, at=AT)
    assert on_its_way.state is TaskState.CANCELLING
    assert cancelled(on_its_way, at=AT) is on_its_way
    assert hear(on_its_way).state is TaskState.CANCELLING


def fail(task: Task, reason: FailureReason) -> Task:
    return after_failure(task, Failure(reason, "because"), at=AT, backoff=Backoff(), chance=0.0)


def test_budgets_of_infrastructure_and_user_are_apart() -> None:
    task = replace(LEASED, budget=Budget(infrastructure=1, user=1))
    lost = fail(task, FailureReason.LOST)
    assert (lost.state, lost.budget) == (TaskState.QUEUED, Budget(infrastructure=0, user=1))
    broken = fail(task, FailureReason.USER)
    assert (broken.state, broken.budget) == (TaskState.QUEUED, Budget(infrastructure=1, user=0))
    assert fail(replace(task, budget=Budget(0, 1)), FailureReason.LOST).state is TaskState.FINISHING


@pytest.mark.parametrize("reason", [FailureReason.BAD_INPUT, FailureReason.BAD_OUTPUT, FailureReason.CANCELLED])
def test_what_another_attempt_cannot_change_is_not_tried_again(reason: FailureReason) -> None:
    assert fail(replace(LEASED, budget=Budget(9, 9)), reason).state is TaskState.FINISHING


def test_a_task_being_cancelled_is_not_tried_again() -> None:
    task = replace(cancelled(LEASED, at=AT), budget=Budget(9, 9))
    assert fail(task, FailureReason.LOST).state is TaskState.FINISHING


def test_backoff_doubles_within_bounds() -> None:
    backoff = Backoff(first_s=2, longest_s=10)
    waits = [backoff.delay(attempt, chance=1.0).total_seconds() for attempt in (1, 2, 3, 4, 50)]
    assert waits == [2, 4, 8, 10, 10]
    assert backoff.delay(1, chance=0.0).total_seconds() == 1


def candidate(name: str, *, online: bool = True, gpus: int = 0, draining: bool = False, **told: object) -> Candidate:
    names = frozenset({"builtin:ingest"})
    capabilities = Capabilities(**{"names": names, **told})  # type: ignore[arg-type]
    return Candidate(Worker(name, name, AT, draining=draining, capabilities=capabilities), online, gpus)


def reason(*candidates: Candidate, requires: str = "builtin:ingest", gpus: int = 0) -> str:
    return waiting_reason(Wants(frozenset({requires}), gpus), candidates)


def test_a_waiting_task_is_told_what_to_do() -> None:
    assert "lode worker add" in reason()
    assert "free worker" in reason(candidate("a"))
    assert "lode-worker run" in reason(candidate("a", online=False))
    assert "undrain" in reason(candidate("a", draining=True))
    assert "lodeworks-platform[detector]" in reason(candidate("a"), requires="executor:detector")
    assert "a: no torch" in reason(
        candidate("a", missing={"executor:detector": "no torch"}), requires="executor:detector"
    )
    assert "2 GPUs" in reason(candidate("a", gpus=1), gpus=2)
    assert "lode worker ls" in reason(candidate("a"), requires="executor:mine")


def test_gpus_are_all_or_nothing() -> None:
    gpus = [Gpu("a"), Gpu("b", task_id="t"), Gpu("c")]
    assert pick_gpus(gpus, wanted=2, free=frozenset()) == ("a", "c")
    assert pick_gpus(gpus, wanted=3, free=frozenset()) is None
    assert pick_gpus(gpus, wanted=1, free=frozenset({"c"})) == ("c",)
    assert pick_gpus(gpus, wanted=0, free=frozenset()) == ()
    assert pick_gpus(gpus, wanted=1, shun=frozenset({"a"})) == ("c",)


def test_a_worker_is_where_its_last_word_puts_it() -> None:
    worker = Worker("w", "w", AT)
    assert worker.state(at=AT, silent_after_s=45) is WorkerState.PENDING
    assert replace(worker, enrolled=True).state(at=AT, silent_after_s=45) is WorkerState.OFFLINE
    seen = replace(worker, last_seen_at=AT)
    assert seen.state(at=AT + timedelta(seconds=45), silent_after_s=45) is WorkerState.ONLINE
    assert seen.state(at=AT + timedelta(seconds=46), silent_after_s=45) is WorkerState.OFFLINE
