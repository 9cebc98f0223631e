"""The task engine on its real database, without a wire: leases, epochs, retries, dependants."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_world import ADMIN, Engine
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.attempt import Outcome
from lodeworks_controller.domain.task.run import Output, Resources
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.domain.worker import Capabilities, DirectiveKind
from lodeworks_controller.errors import (
    ConflictError,
    SessionSupersededError,
    StaleLeaseError,
)
from lodeworks_controller.service.figures import FigureService
from lodeworks_controller.service.kinds.base import Product
from lodeworks_controller.service.lease import LeaseReport, RunningLease, Verdict
from lodeworks_controller.storage.database.unit import SqlStore


@pytest.fixture
async def engine(database_address: Path | str):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = await SqlStore.open(
        database_address, clock=lambda: clock[0], ids=ulids(lambda: clock[0]), database_clock=False
    )
    await store.create_schema()
    yield Engine(store, clock)
    await store.close()


async def test_a_task_goes_from_queue_to_its_object(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    assert task.state is TaskState.QUEUED
    grant = await engine.lease(worker)
    assert (grant.task.lease.epoch, grant.run.executor) == (1, "builtin:nothing")
    assert await engine.report(worker, grant) is Verdict.OK
    running = await engine.get(task)
    assert (running.state, running.progress, running.message) == (TaskState.RUNNING, 0.5, "half")
    await engine.complete(worker, grant)
    assert (await engine.get(task)).state is TaskState.FINISHING
    await engine.finish()
    done = await engine.get(task)
    assert done.state is TaskState.SUCCEEDED
    assert done.results == (ObjectRef("thing", task.id, "thing@1"),)


async def test_figures_count_tasks_workers_and_gpus(engine: Engine) -> None:
    worker = await engine.add_worker("box", gpus=2)
    for _ in range(2):
        await engine.submit(resources=Resources(gpus=2))
    await engine.lease(worker)
    figures = await FigureService(engine.store, terms=engine.terms).measure()
    assert figures.tasks == {"leased": 1, "queued": 1}
    assert (figures.workers, figures.gpus_held) == ({"online": 1}, 2)


async def test_an_open_poll_is_answered_when_a_task_becomes_ready(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    polling = asyncio.create_task(engine.poll(worker, wait_s=10))
    await asyncio.sleep(0)
    task = await engine.submit()
    await engine.plan()
    answer = await asyncio.wait_for(polling, 5)
    assert [grant.task.id for grant in answer.grants] == [task.id]


async def test_an_unreported_grant_is_sent_again_with_the_same_epoch(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.submit()
    first = await engine.lease(worker)
    assert not (await engine.poll(worker)).grants
    engine.pass_s(engine.terms.resend_after_s)
    (again,) = (await engine.poll(worker)).grants
    assert (again.task.id, again.task.lease.epoch) == (first.task.id, first.task.lease.epoch)
    await engine.report(worker, again)
    engine.pass_s(engine.terms.resend_after_s)
    assert not (await engine.poll(worker)).grants


async def test_the_same_completion_twice_has_one_effect_and_another_is_refused(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.submit()
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, request_id="one")
    await engine.complete(worker, grant, request_id="one")
    with pytest.raises(StaleLeaseError):
        await engine.complete(worker, grant, request_id="two")


async def test_a_completion_with_a_missing_output_is_refused_and_may_be_repeated(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.submit()
    grant = await engine.lease(worker)
    output = Output("scores", "a" * 64, 3)
    engine.missing = {output.digest}
    with pytest.raises(ConflictError, match="upload it"):
        await engine.complete(worker, grant, request_id="one", outputs=(output,))
    engine.missing = set()
    await engine.complete(worker, grant, request_id="one", outputs=(output,))


async def test_a_silent_worker_is_suspect_then_lost_and_the_next_attempt_has_a_new_epoch(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.report(worker, grant)
    engine.pass_s(engine.terms.ttl_s + 1)
    await engine.reaping.reap()
    assert (await engine.get(task)).state is TaskState.SUSPECT
    assert await engine.report(worker, grant) is Verdict.OK
    assert (await engine.get(task)).state is TaskState.RUNNING
    engine.pass_s(engine.terms.ttl_s + 1)
    await engine.reaping.reap()
    engine.pass_s(task.lost_after_s)
    await engine.reaping.reap()
    queued = await engine.get(task)
    assert queued.state is TaskState.QUEUED
    assert queued.budget.infrastructure == 1
    other = await engine.add_worker("other")
    engine.pass_s(10)
    again = await engine.lease(other)
    assert again.task.lease.epoch == 2
    with pytest.raises(StaleLeaseError):
        await engine.complete(worker, grant)
    assert await engine.report(worker, grant) is Verdict.LOST


async def test_a_worker_that_returns_before_another_took_over_keeps_its_run(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.report(worker, grant)
    for _ in range(2):
        engine.pass_s(engine.terms.ttl_s + task.lost_after_s)
        await engine.reaping.reap()
    assert (await engine.get(task)).state is TaskState.QUEUED
    await engine.register(worker[0], running=(RunningLease(task.id, 1),))
    assert engine.session.adopt == (task.id,)
    back = await engine.get(task)
    assert (back.state, back.lease.epoch) == (TaskState.RUNNING, 1)


async def test_a_run_that_returns_has_the_very_gpus_that_it_was_granted(engine: Engine) -> None:
    worker = await engine.add_worker("box", gpus=3)
    first, second = [await engine.submit(resources=Resources(gpus=1)) for _ in range(2)]
    await engine.plan()
    grants = (await engine.poll(worker, most=2)).grants
    for grant in grants:
        await engine.report(worker, grant)
    await engine.complete(worker, grants[0])
    await _give_up(engine, second)
    async with engine.store.snapshot() as tx:
        assert not await tx.workers.gpus_of(second.id)
    assert await engine.report(worker, grants[1]) is Verdict.OK
    async with engine.store.snapshot() as tx:
        assert await tx.workers.gpus_of(second.id) == ["GPU-1"]
        assert not await tx.workers.gpus_of(first.id)


async def test_a_run_whose_gpu_is_anothers_by_now_does_not_return(engine: Engine) -> None:
    worker = await engine.add_worker("box", gpus=2)
    lost = await engine.submit(resources=Resources(gpus=1))
    grant = await engine.lease(worker)
    await engine.report(worker, grant)
    await _give_up(engine, lost)
    async with engine.store.transaction() as tx:
        assert await tx.workers.hold_gpus(worker[0], ["GPU-0"], task_id="another")
    assert await engine.report(worker, grant) is Verdict.LOST
    assert (await engine.get(lost)).state is TaskState.QUEUED


async def _give_up(engine: Engine, task: Task) -> None:
    for _ in range(2):
        engine.pass_s(engine.terms.ttl_s + task.lost_after_s)
        await engine.reaping.reap()
    assert (await engine.get(task)).state is TaskState.QUEUED


async def test_what_a_run_leaves_that_did_not_succeed_is_not_told_as_ready(engine: Engine) -> None:
    async def abandon(*_args: object) -> Product:
        return ObjectRef("model_version", "m" * 26, "cells@1")

    engine.kind.abandon = abandon  # type: ignore[method-assign]
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outcome=Outcome.FAILED, reason=FailureReason.USER)
    await engine.finish()
    assert (await engine.get(task)).results[0].name == "cells@1"
    async with engine.store.snapshot() as tx:
        told = [event.topic for event in await tx.outbox.pending(limit=10)]
    assert told == ["task.failed"]


async def test_a_restarted_worker_keeps_its_runs_and_loses_those_it_no_longer_has(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    kept, gone = await engine.submit(), await engine.submit()
    await engine.plan()
    grants = (await engine.poll(worker, most=2)).grants
    for grant in grants:
        await engine.report(worker, grant)
    await engine.register(worker[0], running=(RunningLease(kept.id, 1), RunningLease("0" * 26, 1)))
    assert (engine.session.adopt, engine.session.kill) == ((kept.id,), ("0" * 26,))
    assert (await engine.get(kept)).state is TaskState.RUNNING
    assert (await engine.get(gone)).state is TaskState.QUEUED


async def test_a_grant_that_may_be_lost_is_sent_again_to_the_same_process_alone(engine: Engine) -> None:
    worker_id, _ = await engine.add_worker("box")
    task = await engine.submit()
    first = await engine.lease((worker_id, await engine.register(worker_id, boot_id="one")))
    (again,) = (await engine.poll((worker_id, await engine.register(worker_id, boot_id="one")))).grants
    assert again.task.lease.epoch == first.task.lease.epoch
    other = worker_id, await engine.register(worker_id, boot_id="two")
    assert (await engine.get(task)).state is TaskState.QUEUED
    engine.pass_s(10)
    (anew,) = (await engine.poll(other)).grants
    assert anew.task.lease.epoch == first.task.lease.epoch + 1
    with pytest.raises(StaleLeaseError):
        await engine.complete((worker_id, ""), first)


async def test_a_pause_does_not_outlast_a_clock_that_is_set_back(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit(infrastructure_retries=1)
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outcome=Outcome.FAILED, reason=FailureReason.IMAGE_PULL)
    assert not (await engine.poll(worker)).grants
    engine.pass_s(-3600)
    (again,) = (await engine.poll(worker)).grants
    assert again.task.id == task.id


async def test_an_old_session_is_told_to_stop(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.register(worker[0])
    with pytest.raises(SessionSupersededError):
        await engine.poll(worker)
    with pytest.raises(SessionSupersededError):
        await engine.leases.report(*worker, [])


async def test_cancel_reaches_the_worker_by_its_open_poll(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.report(worker, grant)
    polling = asyncio.create_task(engine.poll(worker, wait_s=10))
    await asyncio.sleep(0)
    assert (await engine.tasks.cancel(ADMIN, task.id)).state is TaskState.CANCELLING
    (directive,) = (await asyncio.wait_for(polling, 5)).directives
    assert (directive.kind, directive.task_id, directive.lease_epoch) == (DirectiveKind.CANCEL, task.id, 1)
    assert await engine.report(worker, grant) is Verdict.CANCEL
    assert not (await engine.poll(worker, seq=directive.seq)).directives
    await engine.complete(worker, grant, outcome=Outcome.CANCELLED)
    await engine.finish()
    assert (await engine.get(task)).state is TaskState.CANCELLED
    assert engine.kind.abandoned == [(task.id, FailureReason.CANCELLED)]


async def test_a_cancel_on_a_dead_worker_ends(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    await engine.lease(worker)
    await engine.tasks.cancel(ADMIN, task.id)
    for _ in range(2):
        engine.pass_s(engine.terms.ttl_s + task.lost_after_s)
        await engine.reaping.reap()
    await engine.finish()
    assert (await engine.get(task)).state is TaskState.CANCELLED


async def test_a_failed_run_tells_why_and_can_be_retried_by_a_person(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outcome=Outcome.FAILED, exit_code=3)
    await engine.finish()
    failed = await engine.get(task)
    assert failed.state is TaskState.FAILED
    assert failed.failure is not None
    assert (failed.failure.reason, failed.failure.exit_code) == (FailureReason.USER, 3)
    assert failed.failure.last_lines == ("the last line",)
    await engine.tasks.retry(ADMIN, task.id)
    again = await engine.lease(worker)
    assert again.task.lease.epoch == 2


async def test_an_unreadable_output_fails_the_task_with_file_and_line(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outputs=(Output("broken", "a" * 64, 1),))
    await engine.finish()
    failure = (await engine.get(task)).failure
    assert failure is not None
    assert (failure.reason, failure.message) == (FailureReason.BAD_OUTPUT, "scores.tsv:3: not a table")


async def test_a_failure_that_a_kind_cannot_settle_is_told_and_tried_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def abandon(*_args: object) -> Product:
        raise TypeError("a mistake in the kind")

    worker = await engine.add_worker("box")
    task = await engine.submit()
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outcome=Outcome.FAILED, exit_code=3)
    with monkeypatch.context() as faulty:
        faulty.setattr(engine.kind, "abandon", abandon)
        await engine.finish()
    waiting = await engine.get(task)
    assert waiting.state is TaskState.FINISHING
    assert "tries again" in waiting.message
    await engine.finish()
    assert (await engine.get(task)).state is TaskState.FINISHING, "not before its time"
    engine.pass_s(2)
    await engine.finish()
    failure = (await engine.get(task)).failure
    assert failure is not None
    assert failure.exit_code == 3


async def test_inputs_that_make_no_run_fail_the_task(engine: Engine) -> None:
    task = await engine.submit(spec={"bad": True})
    await engine.plan()
    failure = (await engine.get(task)).failure
    assert failure is not None
    assert (failure.reason, failure.message) == (FailureReason.BAD_INPUT, "its inputs make no run")


async def test_children_wait_for_their_parent_and_fail_with_it(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    parent = await engine.submit()
    child = await engine.submit(depends_on=(parent.id,))
    grandchild = await engine.submit(depends_on=(child.id,))
    assert child.state is TaskState.BLOCKED
    grant = await engine.lease(worker)
    assert grant.task.id == parent.id
    await engine.complete(worker, grant)
    await engine.finish()
    assert (await engine.get(child)).state is TaskState.QUEUED
    await engine.tasks.cancel(ADMIN, child.id)
    failed = await engine.get(grandchild)
    assert failed.failure is not None
    assert (failed.state, failed.failure.reason) == (TaskState.FAILED, FailureReason.DEPENDENCY)


async def test_gpus_are_held_all_or_none_until_the_run_ends(engine: Engine) -> None:
    worker = await engine.add_worker("box", gpus=3)
    for _ in range(2):
        await engine.submit(resources=Resources(gpus=2))
    await engine.plan()
    (grant,) = (await engine.poll(worker, most=4)).grants
    assert grant.gpu_uuids == ("GPU-0", "GPU-1")
    await engine.complete(worker, grant)
    (second,) = (await engine.poll(worker, most=4)).grants
    assert second.gpu_uuids == ("GPU-0", "GPU-1")


async def test_high_priority_goes_first(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.submit()
    urgent = await engine.submit(priority=5)
    assert (await engine.lease(worker)).task.id == urgent.id


async def test_a_task_that_no_worker_can_run_says_what_to_install(engine: Engine) -> None:
    task = await engine.submit(requires=frozenset({"builtin:convert"}))
    await engine.plan()
    await engine.planning.explain_waiting()
    assert "lode worker add" in (await engine.get(task)).waiting_reason
    worker = await engine.add_worker("box")
    await engine.planning.explain_waiting()
    waiting = await engine.get(task)
    assert waiting.state is TaskState.QUEUED
    assert "lodeworks-platform[convert]" in waiting.waiting_reason
    assert "box" in waiting.waiting_reason
    told = Capabilities(missing={"builtin:convert": "nncf is not installed"})
    await engine.register(worker[0], capabilities=told)
    await engine.planning.explain_waiting()
    assert "nncf is not installed" in (await engine.get(task)).waiting_reason


async def test_reports_that_say_nothing_new_keep_every_lease_alive(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    tasks = [await engine.submit() for _ in range(3)]
    await engine.plan()
    grants = (await engine.poll(worker, most=3)).grants
    told = [LeaseReport(grant.task.id, grant.task.lease.epoch, "running", 0.5, "half") for grant in grants]
    await engine.leases.report(worker[0], worker[1], told)
    engine.pass_s(engine.terms.ttl_s - 5)
    expiry = engine.terms.expiry(engine.clock[0])
    await engine.leases.report(worker[0], worker[1], told)

    async def kept() -> bool:
        return all([(await engine.get(task)).lease.expires_at == expiry for task in tasks])

    async with asyncio.timeout(10):
        while not await kept():  # noqa: ASYNC110 - heartbeats are written together, a moment later
            await asyncio.sleep(0.02)
