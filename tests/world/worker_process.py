"""A real `lode-worker` process on a real controller, with an executor that a test writes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from controller_world import Installation, installation
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.run import Output, OutputSlot, Resources, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.store import Transaction

PROGRAM = str(Path(sys.executable).with_name("lode-worker"))
EXECUTOR = "executor:script"


@dataclass
class ScriptKind:
    """Runs the test's script and remembers what came back."""

    name: str = "script"
    executor: str = EXECUTOR
    outputs: dict[str, Sequence[Output]] = field(default_factory=dict)
    abandoned: dict[str, tuple[FailureReason, Sequence[Output]]] = field(default_factory=dict)

    async def prepare(self, task: Task) -> RunSpec:
        return RunSpec(
            executor=self.executor,
            operations=("train",),
            settings_yaml=str(task.spec.get("settings", "")),
            outputs=(
                OutputSlot("result"),
                OutputSlot("stage/*"),
                OutputSlot("note", required=bool(task.spec.get("needs_note", True))),
            ),
            limits=replace(task.limits, stop_grace_s=5.0),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        self.outputs[task.id] = outputs

        async def commit(tx: Transaction) -> Product:
            return ObjectRef("thing", task.id, "thing@1")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        self.abandoned[task.id] = (reason, outputs)
        return None


class Bench:
    """One installation and one machine on which workers come and go."""

    def __init__(self, home: Installation, kind: ScriptKind, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.kind = kind
        self.state = folder / "worker"
        self.log = folder / "worker.log"
        self.script = folder / "script.py"
        self.process: subprocess.Popen[bytes] | None = None
        self._channel = home.person()
        self._tasks = task_pb2_grpc.TaskServiceStub(self._channel)

    async def token(self, name: str = "box") -> str:
        stub = worker_pb2_grpc.WorkerServiceStub(self._channel)
        return (await stub.AddWorker(worker_pb2.AddWorkerRequest(name=name))).token

    async def remove(self, name: str) -> None:
        stub = worker_pb2_grpc.WorkerServiceStub(self._channel)
        await stub.DeleteWorker(worker_pb2.DeleteWorkerRequest(worker=name, request_id=f"remove-{name}"))

    def configure(self, program: str, *, more: str = "") -> None:
        """Writes the executor's program and the worker's configuration."""
        self.script.write_text(program)
        self.state.mkdir(parents=True, exist_ok=True)
        command = json.dumps([sys.executable, str(self.script)])
        (self.state / "worker.toml").write_text(
            f'drivers = ["process"]\n{more}\n[executors.script]\ncommand = {command}\n'
        )

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "run", "--state", str(self.state)], stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    async def kill(self) -> None:
        """Ends the worker with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> int:
        """Asks the worker to stop; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 30)

    async def lose_the_machine(self) -> None:
        """Ends the worker, its shims and their executors with SIGKILL, as a power cut would."""
        marks = [json.loads(mark.read_text()) for mark in self.state.glob("runs/*/run/shim.json")]
        await self.kill()
        for mark in marks:
            for victim in [
                psutil.Process(int(mark["pid"])),
                *psutil.Process(int(mark["pid"])).children(recursive=True),
            ]:
                victim.kill()

    async def submit(
        self, *, options: TaskOptions | None = None, lost_after_s: float = 60.0, gpus: int = 0, **spec: object
    ) -> str:
        task = await self.home.submit(
            kind="script",
            requires=frozenset({self.kind.executor}),
            spec=spec,
            options=options or TaskOptions(),
            lost_after_s=lost_after_s,
            resources=Resources(gpus=gpus),
        )
        return task.id

    async def task(self, task_id: str) -> task_pb2.Task:
        return (await self._tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id))).task

    async def cancel(self, task_id: str) -> None:
        await self._tasks.CancelTask(task_pb2.CancelTaskRequest(task_id=task_id, request_id=f"cancel-{task_id}"))

    async def until(self, task_id: str, *states: int, limit_s: float = 60.0) -> task_pb2.Task:
        """Waits for a task to reach one of some states."""
        async with asyncio.timeout(limit_s):
            while (told := await self.task(task_id)).state not in states:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)
        return told

    async def until_true(self, condition, *, limit_s: float = 30.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - a condition with a limit
                await asyncio.sleep(0.02)

    async def ended(self, task_id: str) -> task_pb2.Task:
        return await self.until(
            task_id, task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED
        )

    async def running(self, task_id: str) -> task_pb2.Task:
        return await self.until(task_id, task_pb2.TASK_STATE_RUNNING)

    async def read_log(self, task_id: str, *, stream: str = "out") -> bytes:
        data = b""
        while True:
            request = task_pb2.ReadLogRequest(task_id=task_id, stream=stream, offset=len(data))
            told = await self._tasks.ReadLog(request)
            if not told.data:
                return data
            data += told.data

    async def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            await self.stop()
        for mark in self.state.glob("runs/*/run/shim.json"):
            with_pid = json.loads(mark.read_text())
            try:
                os.kill(int(with_pid["pid"]), signal.SIGTERM)
            except ProcessLookupError:
                continue
        await self._channel.close()


@asynccontextmanager
async def bench(folder: Path, *, terms: LeaseTerms | None = None) -> AsyncIterator[Bench]:
    """Serves a controller that knows the script kind, and yields the bench beside it."""
    kind = ScriptKind()
    async with installation(folder / "controller", terms=terms) as home:
        home.controller.engine.kinds.add(kind)
        made = Bench(home, kind, folder)
        try:
            yield made
        finally:
            await made.close()
