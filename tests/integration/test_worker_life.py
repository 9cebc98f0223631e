"""A real worker process and a real controller: enrolment, runs, cancels, and kills at random instants."""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lodeworks.api.task.v1 import task_pb2
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_worker import enrolment
from lodeworks_worker.errors import EnrolmentError
from worker_process import PROGRAM, Bench, bench

SEED = int(os.environ.get("LODE_SOAK_SEED", "7"))
COUNTS = """
import os, pathlib, sys, time, yaml
env = yaml.safe_load(open(os.environ["LODE_ENV_FILE"]))
out = pathlib.Path(env["output"]["root_dir"])
with open(out / "starts", "a") as file:
    file.write("start\\n")
settings = yaml.safe_load(open(env["input"]["config_file"]))
for number in range(int(settings.get("lines", 3))):
    print("line", number, flush=True)
    with open(out / "lode" / "metrics.jsonl", "a") as file:
        file.write('{"step": %d, "name": "n", "value": %d, "time": 1}\\n' % (number, number))
    time.sleep(float(settings.get("pause_s", 0)))
(out / "lode" / "note").write_text((out / "starts").read_text())
"""
SAVES_ITS_WORK = """
import os, pathlib, signal, sys, time, yaml
env = yaml.safe_load(open(os.environ["LODE_ENV_FILE"]))
out = pathlib.Path(env["output"]["root_dir"])
def leave(*_):
    print("asked at", time.time(), flush=True)
    sys.exit(1)
signal.signal(signal.SIGTERM, leave)
(out / "models" / "best.pt").write_text("weights")
(out / "models" / "result.yaml").write_text("{map: 0.5, model: [best.pt]}")
print("ready", flush=True)
while True:
    time.sleep(0.02)
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


async def _enrol(world: Bench) -> enrolment.Identity:
    return await enrolment.enrol(
        world.state / "identity",
        server=world.home.people,
        token=await world.token(),
        ca_fingerprint=_fingerprint(world),
        hostname="host",
    )


def _fingerprint(world: Bench) -> str:
    from lodeworks.channel.pinning import fingerprint  # noqa: PLC0415

    return fingerprint(world.home.ca_pem)


async def _enrolled(world: Bench, program: str, *, more: str = "") -> Bench:
    await _enrol(world)
    world.configure(program, more=more)
    world.start()
    return world


async def test_a_line_typed_on_the_box_makes_a_worker(world):
    token = await world.token()
    line = [PROGRAM, "enroll", world.home.people, "--ca", _fingerprint(world), "--state", str(world.state)]
    wrong = await asyncio.to_thread(subprocess.run, [*line, "--token", "nonsense"], capture_output=True, text=True)
    assert wrong.returncode == 4
    assert "token" in wrong.stderr
    done = await asyncio.to_thread(subprocess.run, [*line, "--token", token], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "enrolled as box" in done.stdout
    again = await asyncio.to_thread(subprocess.run, [*line, "--token", token], capture_output=True, text=True)
    assert again.returncode == 4
    assert "--force" in again.stderr
    for name in ("key.pem", "certificate.pem", "worker.json"):
        assert (world.state / "identity" / name).stat().st_mode & 0o077 == 0
    said = await asyncio.to_thread(
        subprocess.run, [PROGRAM, "doctor", "--state", str(world.state)], capture_output=True, text=True
    )
    assert f"answers at {world.home.agents}" in said.stdout
    status = await asyncio.to_thread(
        subprocess.run, [PROGRAM, "status", "--state", str(world.state)], capture_output=True, text=True
    )
    assert "running            False" in status.stdout


async def test_a_server_of_another_authority_is_not_believed(world):
    with pytest.raises(EnrolmentError, match="does not belong to the authority"):
        await enrolment.enrol(
            world.state / "identity",
            server=world.home.people,
            token=await world.token(),
            ca_fingerprint="sha256:" + "0" * 64,
            hostname="host",
        )


async def test_a_certificate_is_renewed_with_the_key_alone(world):
    identity = await _enrol(world)
    folder = world.state / "identity"
    renewed = await enrolment.renew(folder, identity, at=datetime.now(UTC))
    assert renewed.worker_id == identity.worker_id
    assert renewed.certificate_pem != identity.certificate_pem
    assert enrolment.load_identity(folder) == renewed
    assert enrolment.renewal_due(renewed, at=renewed.valid[1] - timedelta(days=1))
    assert not enrolment.renewal_due(renewed, at=datetime.now(UTC))


async def test_a_worker_that_is_not_enrolled_says_so(world):
    done = await asyncio.to_thread(
        subprocess.run, [PROGRAM, "run", "--state", str(world.state)], capture_output=True, text=True
    )
    assert done.returncode == 4
    assert "lode worker add" in done.stderr


async def test_a_run_goes_the_whole_way(world):
    await _enrolled(world, COUNTS)
    task_id = await world.submit(settings="lines: 2000\n")
    told = await world.ended(task_id)
    assert told.state == task_pb2.TASK_STATE_SUCCEEDED, (told.error, world.log.read_text())
    assert [one.role for one in world.kind.outputs[task_id]] == ["note"]
    lines = (await world.read_log(task_id)).decode().splitlines()
    assert lines == [f"line {number}" for number in range(2000)]
    assert "started by the process driver" in (await world.read_log(task_id, stream="worker")).decode()
    await world.until_true(lambda: not list((world.state / "runs").iterdir()))
    assert await world.stop() == 0


async def test_only_one_worker_works_on_a_state_folder(world):
    await _enrolled(world, COUNTS)
    await world.until_true(lambda: "is open" in world.log.read_text())
    second = await asyncio.to_thread(
        subprocess.run, [PROGRAM, "run", "--state", str(world.state)], capture_output=True, text=True
    )
    assert second.returncode == 4
    assert "runs on" in second.stderr


async def test_a_cancel_reaches_the_executor_at_once_and_its_stages_are_kept(world):
    await _enrolled(world, SAVES_ITS_WORK)
    task_id = await world.submit(needs_note=False)
    await world.running(task_id)
    mark = world.state / "runs" / f"{task_id}-1" / "run" / "output.log"
    await world.until_true(lambda: mark.exists() and b"ready" in mark.read_bytes())
    asked_at = time.time()
    await world.cancel(task_id)
    told = await world.ended(task_id)
    assert told.state == task_pb2.TASK_STATE_CANCELLED
    heard_at = float((await world.read_log(task_id)).decode().split("asked at")[1])
    assert heard_at - asked_at < 2.0
    reason, outputs = world.kind.abandoned[task_id]
    assert reason is FailureReason.CANCELLED
    assert {one.role for one in outputs} == {"result", "stage/default_best_stage/best.pt"}


async def test_a_failure_tells_its_last_lines(world):
    await _enrolled(world, "print('first'); raise SystemExit('the disk of the moon is full')")
    told = await world.ended(await world.submit())
    assert told.state == task_pb2.TASK_STATE_FAILED
    assert "the disk of the moon is full" in told.error
    assert told.exit_code == 1


async def test_sigterm_lets_the_run_live_and_the_next_worker_takes_it_up(world):
    await _enrolled(world, COUNTS)
    task_id = await world.submit(settings="lines: 20\npause_s: 0.1\n")
    await world.running(task_id)
    assert await world.stop() == 0
    world.start()
    told = await world.ended(task_id)
    assert told.state == task_pb2.TASK_STATE_SUCCEEDED, told.error
    assert told.attempt == 1
    assert (await world.read_log(task_id)).decode().splitlines() == [f"line {number}" for number in range(20)]


async def test_a_run_that_ended_while_no_worker_was_there_is_not_lost(world):
    await _enrolled(world, COUNTS)
    task_id = await world.submit(settings="lines: 5\npause_s: 0.2\n")
    await world.running(task_id)
    await world.kill()
    mark = world.state / "runs" / f"{task_id}-1" / "run" / "exit.json"
    await world.until_true(mark.exists)
    world.start()
    told = await world.ended(task_id)
    assert told.state == task_pb2.TASK_STATE_SUCCEEDED, told.error
    assert told.attempt == 1


@pytest.mark.timeout(300)
async def test_kills_at_random_instants_neither_repeat_nor_lose_anything(world):
    """20 kills; the seed is printed, LODE_SOAK_SEED chooses it."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    await _enrolled(world, COUNTS)
    task_ids = [await world.submit(settings=f"lines: {lines}\npause_s: 0.05\n") for lines in (40, 120, 200)]
    kills = 0
    while kills < 20:
        await asyncio.sleep(chance.uniform(0.0, 1.5))
        await world.kill()
        kills += 1
        world.start()
        told = [await world.task(task_id) for task_id in task_ids]
        if all(one.state == task_pb2.TASK_STATE_SUCCEEDED for one in told):
            task_ids += [await world.submit(settings="lines: 100\npause_s: 0.05\n")]
    for task_id in task_ids:
        told = await world.ended(task_id)
        assert told.state == task_pb2.TASK_STATE_SUCCEEDED, (told.error, world.log.read_text()[-3000:])
        assert told.attempt == 1, "the run was started again instead of adopted"
        lines = (await world.read_log(task_id)).decode().splitlines()
        assert lines == [f"line {number}" for number in range(len(lines))]
        (note,) = world.kind.outputs[task_id]
        assert note.size_bytes == len("start\n"), "the executor was started more than once"


async def test_a_worker_that_was_removed_stops(world):
    await _enrol(world)
    world.configure(COUNTS)
    process = world.start()
    await world.until_true(lambda: "is open" in world.log.read_text())
    await world.remove("box")
    code = await asyncio.to_thread(process.wait, 60)
    assert code == 4, world.log.read_text()[-2000:]
