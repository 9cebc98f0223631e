"""Runs executors as programs of this machine, each under a shim that outlives the worker."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from lodeworks_worker.drivers import shim
from lodeworks_worker.drivers.base import HANDLE_VERSION, Capabilities, Exit, Launch, LogPart, RunHandle, run_name
from lodeworks_worker.drivers.mounts import private_mounts_command
from lodeworks_worker.drivers.spool import DEFAULT_BYTES, read_spool
from lodeworks_worker.errors import LaunchError, RunLostError
from lodeworks_worker.putting_down import in_thread

_SHIM_MARGIN_S = 5.0
_STATE_DIR = "run"


class ProcessDriver:
    """Runs programs in folders under `root`, one folder named by task and epoch per run.

    `environment` is what every program gets (PATH and the like); `python` runs the shim.
    """

    name = "process"

    def __init__(
        self,
        root: Path,
        *,
        environment: Mapping[str, str],
        python: str = sys.executable,
        spool_bytes: int = DEFAULT_BYTES,
    ) -> None:
        self._root = root
        self._spool_bytes = spool_bytes
        self._environment = dict(environment)
        self._python = python

    async def capabilities(self) -> Capabilities:
        """Says that programs run here; a pidfd is what a run is waited for with."""
        reason = None if hasattr(os, "pidfd_open") else "this platform has no pidfd_open; use the docker driver"
        return Capabilities(name=self.name, runs_programs=reason is None, gpus=True, unavailable=reason)

    async def start(self, launch: Launch) -> RunHandle:
        """Starts the shim of the run; a second shim finds the first one's lock and leaves."""
        if not launch.command:
            raise LaunchError("the process driver runs programs, not images; give this worker a docker engine")
        state = launch.folder / _STATE_DIR
        await in_thread(_prepare, launch, state, self._environment)
        process = await asyncio.create_subprocess_exec(
            self._python,
            "-I",
            "-S",
            shim.__file__,
            str(state),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        _, complaint = await process.communicate()
        if process.returncode not in {shim.STARTED, shim.TAKEN}:
            raise LaunchError(f"the shim of {launch.name} did not start: {complaint.decode(errors='replace')[-500:]}")
        return _handle(launch.task_id, launch.lease_epoch, launch.folder)

    async def recover(self, handle: RunHandle) -> None:
        """Takes up the run if it has ended orderly or its shim lives."""
        state = _state_dir(handle)
        if not (state / "exit.json").exists() and not _alive(shim.read_json(str(state / "shim.json"))):
            _end_orphan(state)
            raise RunLostError(f"run {run_name(handle.task_id, handle.lease_epoch)} died with its shim")

    async def wait(self, handle: RunHandle) -> Exit:
        """Waits for the shim to end, without polling, and reads the exit that it left."""
        state = _state_dir(handle)
        ended = _read_exit(state)
        while ended is None:
            who = shim.read_json(str(state / "shim.json"))
            if who is not None:
                await _until_gone(who)
            ended = _read_exit(state)
            if ended is None:
                await self.recover(handle)
        return ended

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Reads the run's output file from an offset."""
        path = _state_dir(handle) / "output.log"
        return await in_thread(partial(read_spool, path, offset, limit_bytes=self._spool_bytes))

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Orders the shim to end the run: the order holds even if the worker dies now."""
        state = _state_dir(handle)
        if not state.is_dir():
            return
        await in_thread(shim.write_json, str(state / "stop.json"), {"grace_s": grace_s})
        who = shim.read_json(str(state / "shim.json"))
        if who is None or not _send(who, signal.SIGTERM):
            return
        try:
            async with asyncio.timeout(grace_s + _SHIM_MARGIN_S):
                await self.wait(handle)
        except RunLostError:
            return
        except TimeoutError:
            _send(who, signal.SIGKILL)
            _end_orphan(state)

    async def remove(self, handle: RunHandle) -> None:
        """Ends what lives of the run."""
        await self.stop(handle, grace_s=0.0)

    async def found(self) -> Sequence[RunHandle]:
        """Lists the folders that a shim was started in."""
        return await in_thread(self._scan)

    def _scan(self) -> list[RunHandle]:
        found = []
        for marker in sorted(self._root.glob(f"*/{_STATE_DIR}/launch.json")):
            told = shim.read_json(str(marker)) or {}
            task_id, epoch = told.get("task_id"), told.get("lease_epoch")
            if isinstance(task_id, str) and isinstance(epoch, int):
                found.append(_handle(task_id, epoch, marker.parent.parent))
        return found


def _handle(task_id: str, lease_epoch: int, folder: Path) -> RunHandle:
    told = json.dumps({"folder": str(folder)}).encode()
    return RunHandle(
        version=HANDLE_VERSION,
        driver=ProcessDriver.name,
        task_id=task_id,
        lease_epoch=lease_epoch,
        driver_state=told,
    )


def _state_dir(handle: RunHandle) -> Path:
    return Path(json.loads(handle.driver_state)["folder"]) / _STATE_DIR


def _prepare(launch: Launch, state: Path, base: Mapping[str, str]) -> None:
    state.mkdir(parents=True, exist_ok=True)
    if (state / "launch.json").exists():
        return
    command: Sequence[str] = launch.command
    if launch.private_mounts:
        command = private_mounts_command(command, in_dir=launch.in_dir, out_dir=launch.out_dir, scratch=state / "root")
    environment = {**base, **launch.environment}
    if launch.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(launch.gpus)
    told = {
        "task_id": launch.task_id,
        "lease_epoch": launch.lease_epoch,
        "command": list(command),
        "environment": environment,
        "cwd": str(launch.out_dir),
        "log": str(state / "output.log"),
    }
    shim.write_json(str(state / "launch.json"), told)


def _read_exit(state: Path) -> Exit | None:
    told = shim.read_json(str(state / "exit.json"))
    if told is None:
        return None
    code, number = told["code"], told["signal"]
    return Exit(
        code=code if isinstance(code, int) else None,
        signal=number if isinstance(number, int) else None,
        oom=bool(told["oom"]),
        cpu_s=float(str(told.get("cpu_s", 0.0))),
    )


def _open(who: Mapping[str, object]) -> int | None:
    """Opens the described process, or returns None when it is gone or a later one has its pid."""
    pid = int(str(who["pid"]))
    if who["boot_id"] != shim.boot_id():
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    fields = shim.stat_fields(pid)
    if not fields or fields[0] in {"Z", "X"} or int(fields[19]) != who["start_time"]:
        os.close(descriptor)
        return None
    return descriptor


def _alive(who: Mapping[str, object] | None) -> bool:
    descriptor = None if who is None else _open(who)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _send(who: Mapping[str, object], number: int) -> bool:
    descriptor = _open(who)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


async def _until_gone(who: Mapping[str, object]) -> None:
    descriptor = _open(who)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _end_orphan(state: Path) -> None:
    """Ends an executor whose shim was killed; the kernel has usually done so already."""
    child = shim.read_json(str(state / "child.json"))
    if child is not None and _alive(child):
        try:
            os.killpg(int(str(child["pid"])), signal.SIGKILL)
        except ProcessLookupError:
            return
