"""What goes from one attempt to the next, and from one task to its equal: checkpoints and outputs."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_world import ADMIN, Engine
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.attempt import Outcome
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.run import Input, Output
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.domain.worker import Capabilities
from lodeworks_controller.errors import ConflictError, StaleLeaseError
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_controller.service.granting import Grant
from lodeworks_controller.storage.database.unit import SqlStore

DIGEST, NEWER, DATA = "a" * 64, "b" * 64, "c" * 64
EXPORTS = Capabilities(names=frozenset({"builtin:nothing", "builtin:export"}))


@pytest.fixture
async def engine(database_address: Path | str) -> AsyncIterator[Engine]:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = await SqlStore.open(
        database_address, clock=lambda: clock[0], ids=ulids(lambda: clock[0]), database_clock=False
    )
    await store.create_schema()
    yield Engine(store, clock)
    await store.close()


async def save(engine: Engine, worker: tuple[str, str], grant: Grant, digest: str) -> None:
    await engine.checkpoints.save(worker[0], grant.task.id, grant.task.lease.epoch, digest=digest, size_bytes=7)


def checkpoints_of(grant: Grant) -> list[Input]:
    return [one for one in grant.run.inputs if one.role == "checkpoint"]


async def test_the_next_attempt_on_another_worker_gets_the_newest_checkpoint(engine: Engine) -> None:
    first = await engine.add_worker("first")
    task = await engine.submit()
    grant = await engine.lease(first)
    assert checkpoints_of(grant) == []
    await engine.report(first, grant)
    for digest in (DIGEST, DIGEST, NEWER):
        await save(engine, first, grant, digest)
    engine.pass_s(engine.terms.ttl_s + 1)
    await engine.reaping.reap()
    engine.pass_s(task.lost_after_s)
    await engine.reaping.reap()
    engine.pass_s(60)
    second = await engine.add_worker("second")
    again = await engine.lease(second)
    assert checkpoints_of(again) == [Input("checkpoint", NEWER, 7)]
    async with engine.store.snapshot() as tx:
        assert await tx.blobs.referenced(task_scope(task.id), [DIGEST, NEWER]) == {NEWER}
    with pytest.raises(StaleLeaseError):
        await save(engine, first, grant, DIGEST)


async def test_a_checkpoint_that_is_not_in_the_store_is_refused(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    await engine.submit()
    grant = await engine.lease(worker)
    engine.missing = {DIGEST}
    with pytest.raises(ConflictError, match="upload it"):
        await save(engine, worker, grant, DIGEST)


async def test_a_retry_goes_on_from_the_last_checkpoint_unless_it_shall_begin_fresh(engine: Engine) -> None:
    worker = await engine.add_worker("box")
    task = await engine.submit(options=TaskOptions(retries=1))
    grant = await engine.lease(worker)
    left = (Output("checkpoint", DIGEST, 7),)
    broken = {"outcome": Outcome.FAILED, "reason": FailureReason.USER, "outputs": left}
    await engine.complete(worker, grant, **broken)
    engine.pass_s(60)
    second = await engine.lease(worker)
    assert checkpoints_of(second) == [Input("checkpoint", DIGEST, 7)]
    await engine.complete(worker, second, **broken)
    await engine.finish()
    assert (await engine.get(task)).state is TaskState.FAILED
    again = await engine.tasks.retry(ADMIN, task.id, fresh=True)
    assert again.budget.user == 1
    third = await engine.lease(worker)
    assert (third.task.attempt_no, checkpoints_of(third)) == (3, [])


async def export(engine: Engine, *, data: str = DATA, **more: object) -> Task:
    spec = {"executor": "builtin:export", "inputs": [data]}
    return await engine.submit(spec=spec, requires=frozenset({"builtin:export"}), **more)


async def test_an_equal_task_says_so_and_reuse_takes_its_outputs(engine: Engine) -> None:
    worker = await engine.add_worker("box", capabilities=EXPORTS)
    first = await export(engine)
    grant = await engine.lease(worker)
    await engine.complete(worker, grant, outputs=(Output("archive", DIGEST, 7),))
    await engine.finish()
    second = await export(engine, options=TaskOptions(reuse=True))
    await engine.plan()
    taken = await engine.get(second)
    assert (taken.state, taken.reused, taken.equal_task_id) == (TaskState.FINISHING, True, first.id)
    assert not (await engine.poll(worker)).grants
    await engine.finish()
    done = await engine.get(second)
    assert (done.state, done.attempt_no, len(done.results)) == (TaskState.SUCCEEDED, 0, 1)
    async with engine.store.snapshot() as tx:
        assert await tx.tasks.outputs(second.id, 0) == [Output("archive", DIGEST, 7)]
        assert await tx.blobs.referenced(task_scope(second.id), [DIGEST]) == {DIGEST}
    third = await export(engine)
    await engine.plan()
    noted = await engine.get(third)
    assert (noted.state, noted.reused, noted.equal_task_id) == (TaskState.QUEUED, False, first.id)


async def test_only_equal_runs_of_deterministic_executors_are_reused(engine: Engine) -> None:
    worker = await engine.add_worker("box", capabilities=EXPORTS)
    asks = TaskOptions(reuse=True)
    for _ in range(2):
        await engine.submit(options=asks)
        grant = await engine.lease(worker)
        assert (grant.task.equal_task_id, grant.task.reuse_key) == ("", "")
        await engine.complete(worker, grant)
    await export(engine)
    await engine.complete(worker, await engine.lease(worker), outputs=(Output("archive", DIGEST, 7),))
    await engine.finish()
    for wish in ({"data": NEWER}, {"project_id": "q" * 26}):
        await export(engine, options=asks, **wish)
        grant = await engine.lease(worker)
        assert grant.task.equal_task_id == ""
        await engine.complete(worker, grant)


async def test_outputs_that_are_gone_are_made_again(engine: Engine) -> None:
    worker = await engine.add_worker("box", capabilities=EXPORTS)
    await export(engine)
    await engine.complete(worker, await engine.lease(worker), outputs=(Output("archive", DIGEST, 7),))
    await engine.finish()
    engine.missing = {DIGEST}
    await export(engine, options=TaskOptions(reuse=True))
    assert (await engine.lease(worker)).task.equal_task_id
