"""How soon a cancel reaches the run: from the person's call to SIGTERM in the process."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc
from task_queues.installation import Installation, Queue, scratch
from task_queues.queue_rows import real_worker

RUN = """
import os, pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def told(*_):
    making = here / f"making-{os.getpid()}"
    making.write_text(str(time.time()))
    making.rename(here / f"told-{os.getpid()}")
    os._exit(0)
signal.signal(signal.SIGTERM, told)
(here / f"up-{os.getpid()}").write_text("")
while True:
    signal.pause()
"""
WITHIN_S = 60.0


async def measure_cancels(*, number: int) -> list[float]:
    """Returns how long each of so many cancels took, in seconds, with the product's own worker and process driver."""
    installation = Installation(scratch("cancel"))
    installation.make()
    installation.start()
    marks = installation.folder / "marks"
    marks.mkdir()
    program = installation.folder / "run.py"
    program.write_text(RUN)
    worker: subprocess.Popen[bytes] | None = None
    try:
        async with installation.person() as person:
            command = [sys.executable, str(program), str(marks)]
            worker = await real_worker(installation, person, command=command, max_runs=2)
            queue, tasks = installation.queue(person), task_pb2_grpc.TaskServiceStub(person)
            return [await _cancel(queue, tasks, marks, place) for place in range(number)]
    finally:
        if worker is not None:
            worker.send_signal(signal.SIGTERM)
            worker.wait(20)
        installation.stop()
        shutil.rmtree(installation.folder, ignore_errors=True)


async def _cancel(queue: Queue, tasks: "task_pb2_grpc.TaskServiceAsyncStub", marks: Path, place: int) -> float:
    task_id = await queue.submit(f"c{place}")
    await _count(marks, "up-", place + 1)
    began = time.time()
    await tasks.CancelTask(task_pb2.CancelTaskRequest(task_id=task_id))
    await _count(marks, "told-", place + 1)
    return max(float(mark.read_text()) for mark in marks.glob("told-*")) - began


async def _count(marks: Path, prefix: str, wanted: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while len(list(marks.glob(f"{prefix}*"))) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the run made no mark {prefix}* within {WITHIN_S:.0f} s")
        await asyncio.sleep(0.002)
