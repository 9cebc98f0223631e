"""A run whose machine vanished goes on elsewhere from its checkpoint: two real workers, one controller."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from lodeworks.api.task.v1 import task_pb2
from lodeworks.channel.pinning import fingerprint
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_worker import enrolment
from worker_process import Bench, bench

TERMS = LeaseTerms(poll_wait_s=2.0, report_interval_s=0.5, ttl_s=2.0)
COUNTS = """
import json, os, pathlib, sys, time, yaml
from lodeworks_executor.checkpoint import Checkpoint
env = yaml.safe_load(open(os.environ["LODE_ENV_FILE"]))
out, given = pathlib.Path(env["output"]["root_dir"]), pathlib.Path(env["input"]["root_dir"])
settings = yaml.safe_load(open(env["input"]["config_file"]))
kept = Checkpoint(inputs=given / "lode" / "checkpoint", outputs=out / "lode" / "checkpoint")
found = kept.find()
first = 0 if found is None else int(found.files["number"].read_text()) + 1
print("begins with", first, "resume", settings.get("resume"), flush=True)
last = int(settings["last"])
for number in range(first, last):
    with kept.saving(f"step_{number}") as folder:
        (folder / "number").write_text(str(number))
    time.sleep(float(settings["pause_s"]))
    if number == int(settings.get("dies_at", -1)) and first == 0:
        sys.exit(3)
(out / "lode" / "note").write_text(json.dumps({"first": first}))
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "one", terms=TERMS) as made:
        yield made


@pytest.fixture
async def other(world: Bench, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(world.home, world.kind, tmp_path / "two")
    yield made
    await made.close()


async def start(machine: Bench, name: str, *, more: str = "") -> None:
    home = machine.home
    await enrolment.enrol(
        machine.state / "identity",
        server=home.people,
        token=await machine.token(name),
        ca_fingerprint=fingerprint(home.ca_pem),
        hostname=name,
    )
    machine.configure(COUNTS, more=f"checkpoint_s = 1\n{more}")
    machine.start()


async def note_of(world: Bench, task_id: str) -> dict[str, int]:
    digest = next(output.digest for output in world.kind.outputs[task_id] if output.role == "note")
    return json.loads(await world.home.controller.ground.blobs.read(digest))


async def test_a_run_whose_machine_vanished_goes_on_elsewhere_from_its_checkpoint(world: Bench, other: Bench) -> None:
    await start(world, "first")
    task_id = await world.submit(settings="last: 60\npause_s: 0.2\n", lost_after_s=1.0)
    async with asyncio.timeout(60):
        while not (await world.task(task_id)).HasField("checkpoint_time"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)
    await world.lose_the_machine()
    await start(other, "second")
    done = await world.ended(task_id)
    assert done.state == task_pb2.TASK_STATE_SUCCEEDED, done.error
    assert (await note_of(world, task_id))["first"] > 0
    assert [(one.number, one.worker_name, one.outcome) for one in done.attempts] == [
        (1, "first", task_pb2.ATTEMPT_OUTCOME_LOST),
        (2, "second", task_pb2.ATTEMPT_OUTCOME_SUCCEEDED),
    ]
    assert done.infrastructure_retries_left == 1
    assert b"resume True" in await world.read_log(task_id)
    assert not done.HasField("checkpoint_time")


async def test_a_worker_that_was_frozen_goes_on_with_its_run_on_the_gpu_that_it_had(world: Bench) -> None:
    await start(world, "first", more='[[fake_gpus]]\nuuid = "GPU-a"\n[[fake_gpus]]\nuuid = "GPU-b"\n')
    task_id = await world.submit(settings="last: 60\npause_s: 0.15\n", lost_after_s=1.0, gpus=1)
    await world.running(task_id)
    held = await gpus_of(world, task_id)
    assert len(held) == 1
    await drain(world)  # so that the task can come back only as the run that there is
    assert world.process is not None
    world.process.send_signal(signal.SIGSTOP)
    try:
        await world.until(task_id, task_pb2.TASK_STATE_QUEUED)
        assert not await gpus_of(world, task_id)
    finally:
        world.process.send_signal(signal.SIGCONT)
    await world.running(task_id)
    assert await gpus_of(world, task_id) == held
    done = await world.ended(task_id)
    assert done.state == task_pb2.TASK_STATE_SUCCEEDED, done.error
    assert done.attempt == 1, world.log.read_text()[-3000:]
    assert not await gpus_of(world, task_id)


async def drain(world: Bench) -> None:
    async with world.home.controller.ground.store.transaction() as tx:
        (worker,) = await tx.workers.list()
        await tx.workers.put(replace(worker, draining=True))


async def gpus_of(world: Bench, task_id: str) -> Sequence[str]:
    async with world.home.controller.ground.store.snapshot() as tx:
        return await tx.workers.gpus_of(task_id)


async def test_a_failed_attempt_is_tried_again_from_where_it_died(world: Bench) -> None:
    await start(world, "first")
    task_id = await world.submit(
        settings="last: 8\npause_s: 0.01\ndies_at: 5\n", options=TaskOptions(retries=1, infrastructure_retries=0)
    )
    done = await world.ended(task_id)
    assert done.state == task_pb2.TASK_STATE_SUCCEEDED, done.error
    assert (await note_of(world, task_id))["first"] == 6
    assert [(one.exit_code, one.reason) for one in done.attempts] == [
        (3, task_pb2.FAILURE_REASON_USER),
        (0, task_pb2.FAILURE_REASON_UNSPECIFIED),
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (TaskOptions(run_timeout_s=1.0), task_pb2.FAILURE_REASON_TIMEOUT),
        (TaskOptions(stall_timeout_s=1.0), task_pb2.FAILURE_REASON_STALL),
    ],
)
async def test_a_run_that_takes_too_long_or_stands_still_is_ended(
    world: Bench, options: TaskOptions, reason: task_pb2.FailureReason.ValueType
) -> None:
    await start(world, "first")
    task_id = await world.submit(settings="last: 2\npause_s: 60\n", options=options)
    done = await world.ended(task_id)
    assert (done.state, done.reason) == (task_pb2.TASK_STATE_FAILED, reason), done.error
    assert "--" in done.next_step
