"""Ours as a queue: latency of one task after the other, then the rate of many."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc
from task_queues.figures import processor_s
from task_queues.installation import Installation, Queue, scratch
from task_queues.simulated import SimulatedWorker

SUBMITTERS = 48
WORKERS = 2
SLOTS = 64
WITHIN_S = 180.0


async def measure_queue(configuration: Sequence[str], *, tasks: int, latencies: int) -> dict[str, Any]:
    """Returns `per_s`, `latencies_s` and the controller's processor time a task; the workers' runs do nothing."""
    installation = Installation(scratch("queue"), configuration)
    installation.make()
    installation.start()
    try:
        started: dict[str, float] = {}
        async with installation.person() as person, _simulated(installation, person, started):
            queue = installation.queue(person)
            times = await _latencies(queue, started, number=latencies)
            used_s, began = processor_s(installation.pid), time.perf_counter()
            await _submit(queue, tasks)
            await queue.settled(tasks + latencies, within_s=WITHIN_S)
            took_s = time.perf_counter() - began
            used_s = processor_s(installation.pid) - used_s
        return {"per_s": tasks / took_s, "latencies_s": times, "controller_us": used_s / tasks * 1e6}
    finally:
        installation.stop()
        shutil.rmtree(installation.folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _simulated(installation: Installation, person: Any, started: dict[str, float]) -> AsyncIterator[None]:
    working = []
    for number in range(WORKERS):
        _, certificate = await installation.enrol(f"simulated-{number}", person)
        worker = SimulatedWorker(installation.agent(certificate), slots=SLOTS, started=started.setdefault)
        await worker.register()
        working.append(asyncio.create_task(worker.work()))
    try:
        yield
    finally:
        for one in working:
            one.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _latencies(queue: Queue, started: dict[str, float], *, number: int) -> list[float]:
    times = []
    for place in range(number):
        began = time.perf_counter()
        task_id = await queue.submit(f"l{place}")
        while task_id not in started:
            await asyncio.sleep(0.0002)
        times.append(started[task_id] - began)
        await asyncio.sleep(0.01)
    await queue.settled(number, within_s=WITHIN_S)
    return times


async def _submit(queue: Queue, tasks: int) -> None:
    numbers = iter(range(tasks))

    async def submit() -> None:
        for number in numbers:
            await queue.submit(f"t{number}")

    await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))


async def measure_runs(configuration: Sequence[str], *, tasks: int) -> dict[str, Any]:
    """Returns `per_s` with the product's own worker, whose process driver runs `true` for each task."""
    installation = Installation(scratch("runs"), configuration)
    installation.make()
    installation.start()
    worker: subprocess.Popen[bytes] | None = None
    try:
        async with installation.person() as person:
            worker = await real_worker(installation, person, command=["/bin/true"], max_runs=8)
            queue = installation.queue(person)
            await queue.submit("warm")
            await queue.settled(1, within_s=WITHIN_S)
            began = time.perf_counter()
            await _submit(queue, tasks)
            await queue.settled(tasks + 1, within_s=WITHIN_S)
            return {"per_s": tasks / (time.perf_counter() - began)}
    finally:
        if worker is not None:
            worker.send_signal(signal.SIGTERM)
            worker.wait(20)
        installation.stop()
        shutil.rmtree(installation.folder, ignore_errors=True)


async def real_worker(
    installation: Installation, person: grpc.aio.Channel, *, command: Sequence[str], max_runs: int
) -> subprocess.Popen[bytes]:
    """Starts the product's own worker; its process driver runs the command for each task."""
    added = await worker_pb2_grpc.WorkerServiceStub(person).AddWorker(worker_pb2.AddWorkerRequest(name="real"))
    return await asyncio.to_thread(_started, installation, str(added.token), command, max_runs)


def _started(installation: Installation, token: str, command: Sequence[str], max_runs: int) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name("lode-worker"))
    state = installation.folder / "worker"
    state.mkdir()
    lines = ['drivers = ["process"]', f"max_runs = {max_runs}", "[executors.true]", f"command = {json.dumps(command)}"]
    (state / "worker.toml").write_text("\n".join(lines))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LODE_")}
    enrol = [program, "--state", str(state), "enroll", f"127.0.0.1:{installation.people_port}"]
    enrol += ["--token", token, "--ca", installation.ca_fingerprint]
    done = subprocess.run(enrol, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the worker was not enrolled: {done.stderr or done.stdout}")
    with (installation.folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            [program, "--state", str(state), "run"], env=kept, stdout=log, stderr=log, start_new_session=True
        )
