"""Starts, finds again, asks and ends the processes that serve. They outlive this process; none is a daemon's child.

Layout of the serving folder::

    routes.json          which process answers for which algorithm
    front.json           who the front is
    front.lock           held by the front
    i/<instance>/        one per algorithm version: launch.json, process.json, failure.json, lock, s (the socket), log
"""

import asyncio
import fcntl
import hashlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodeworks_device.errors import PortTakenError
from lodeworks_device.files import read_json, write_json
from lodeworks_device.process_record import ProcessRecord, read_record, record_of
from lodeworks_device.reasons import Reason
from lodeworks_device.serving.routes import Route, read_routes, write_routes
from lodeworks_device.unix_http import ask

_INSTANCES = "i"
_FRONT = "front"
_LARGEST_LOG_BYTES = 4 << 20
_KILL_AFTER_S = 5.0
_END_WITHIN_S = 15.0
_ASK_WITHIN_S = 5.0
_HTTP_ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Instance:
    """One version of one algorithm as a process."""

    algorithm: str
    package_id: str

    @property
    def key(self) -> str:
        """The name of its folder: the same version is the same instance, so it cannot run twice."""
        return f"{self.package_id[:16]}-{hashlib.sha256(self.algorithm.encode()).hexdigest()[:8]}"

    @property
    def socket(self) -> str:
        """Its socket, relative to the serving folder."""
        return f"{_INSTANCES}/{self.key}/s"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process ended before it was told to."""

    reason: Reason
    message: str
    explained: bool
    """Whether the process itself said so: then another try ends the same."""


class Supervisor:
    """The processes of one serving folder.

    Args:
        folder: The serving folder.
        listen: `host:port` of the front; port 0 = a free one, chosen once and kept.
        threads: Of the network, for each algorithm.
        python: What runs them.
    """

    def __init__(self, folder: Path, *, listen: str, threads: int, python: str = sys.executable) -> None:
        self._folder = folder
        self._listen = listen
        self._threads = threads
        self._python = python
        # What this agent started itself, by the key of the instance: known before it has written about itself.
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._routes = read_routes(folder)
        (folder / _INSTANCES).mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def http_address(self) -> str:
        """Where the front answers."""
        return f"http://{self._address()}"

    def start_front(self) -> None:
        """Starts the front if it does not run. Raises PortTakenError when another program has its address."""
        if self.front is not None or _locked(self._folder / "front.lock"):
            return
        address = self._address()
        if not _free(address):
            if not self._listen.endswith(":0"):
                raise PortTakenError(f"another program listens at {address}; stop it, or choose another http_listen")
            (self._folder / _HTTP_ADDRESS).unlink()
            address = self._address()
        self._spawn(_FRONT, self._folder, address)

    @property
    def front(self) -> ProcessRecord | None:
        """The front, None while it does not run."""
        return self._running(_FRONT, self._folder / "front.json")

    def start(self, instance: Instance, *, package: Path) -> None:
        """Starts a process unless it runs. Starting it twice is harmless: the second one finds the lock and leaves."""
        folder = self._instance_folder(instance)
        if self.record(instance) is not None or _locked(folder / "lock"):
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("process.json", "failure.json"):
            (folder / name).unlink(missing_ok=True)
        told = {"algorithm": instance.algorithm, "package_id": instance.package_id}
        write_json(folder / "launch.json", {**told, "package": str(package), "threads": self._threads})
        self._spawn(instance.key, folder)

    def record(self, instance: Instance) -> ProcessRecord | None:
        """Returns the process of an instance, None while none runs."""
        return self._running(instance.key, self._instance_folder(instance) / "process.json")

    def was_started(self, instance: Instance) -> bool:
        """Says whether a process of the instance ran at some time since it was last put away."""
        return instance.key in self._children or (self._instance_folder(instance) / "process.json").exists()

    def failure(self, instance: Instance) -> Failure:
        """Says why the process of an instance is gone."""
        folder = self._instance_folder(instance)
        told = read_json(folder / "failure.json")
        if told is not None:
            return Failure(Reason(told["reason"]), str(told["message"]), explained=True)
        child = self._children.get(instance.key)
        code = None if child is None else child.poll()
        if code == -signal.SIGKILL:
            message = "the process was killed; the memory of the device may be too small for it"
            return Failure(Reason.OUT_OF_MEMORY, message, explained=False)
        how = "nobody saw it" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
        return Failure(Reason.CRASHED, f"the process ended ({how}): {_last_line(folder / 'log')}", explained=False)

    async def ask(self, instance: Instance, method: str, target: str, *, timeout_s: float = _ASK_WITHIN_S) -> Any:
        """Returns what the process answers; raises OSError while it does not."""
        path = self._instance_folder(instance) / "s"
        return await asyncio.to_thread(ask, path, method, target, timeout_s=timeout_s)

    def route(self, routes: Mapping[str, Route]) -> None:
        """Makes the front use these routes, for every request from now on."""
        if routes != self._routes or not (self._folder / "routes.json").exists():
            write_routes(self._folder, routes)
            self._routes = dict(routes)

    def found(self) -> Sequence[Instance]:
        """Returns every instance that has a folder, running or not."""
        found = []
        for path in (self._folder / _INSTANCES).glob("*/launch.json"):
            told = read_json(path)
            if told is not None:
                found.append(Instance(str(told["algorithm"]), str(told["package_id"])))
        return found

    async def end(self, instance: Instance) -> None:
        """Asks a process to finish what it began and end, ends it otherwise, and puts its folder away."""
        record = self.record(instance)
        if record is not None:
            await asyncio.to_thread(_end, record)
        self._forget(instance.key)
        await asyncio.to_thread(shutil.rmtree, self._instance_folder(instance), ignore_errors=True)

    def kill(self, instance: Instance) -> None:
        """Ends a process that hangs, at once."""
        record = self.record(instance)
        if record is not None:
            record.send(signal.SIGKILL)

    def shut_down(self) -> None:
        """Ends the front and every process. Blocks."""
        front = self.front
        if front is not None:
            _end(front)
        self._forget(_FRONT)
        for instance in self.found():
            record = self.record(instance)
            if record is not None:
                _end(record)
            self._forget(instance.key)

    def _forget(self, key: str) -> None:
        child = self._children.pop(key, None)
        if child is not None:
            child.wait(_KILL_AFTER_S)

    def _address(self) -> str:
        """Returns `host:port` of the front; a free port is chosen once and kept."""
        host, _, port = self._listen.rpartition(":")
        if port != "0":
            return self._listen
        path = self._folder / _HTTP_ADDRESS
        if path.exists():
            return path.read_text(encoding="ascii")
        with socket.create_server((host.removeprefix("[").removesuffix("]"), 0)) as probe:
            chosen = f"{host}:{probe.getsockname()[1]}"
        path.write_text(chosen, encoding="ascii")
        return chosen

    def _instance_folder(self, instance: Instance) -> Path:
        return self._folder / _INSTANCES / instance.key

    def _spawn(self, key: str, folder: Path, *arguments: str) -> None:
        module, log = ("front", folder / "front.log") if key == _FRONT else ("algorithm", folder / "log")
        if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".old"))
        with log.open("ab") as output:
            self._children[key] = subprocess.Popen(  # noqa: S603 - our own module
                [self._python, "-m", f"lodeworks_device.serving.{module}", str(folder.absolute()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _running(self, key: str, path: Path) -> ProcessRecord | None:
        child = self._children.get(key)
        if child is not None and child.poll() is None:
            return record_of(child.pid)
        record = read_record(path)
        return record if record is not None and record.alive else None


def _locked(path: Path) -> bool:
    """Says whether a process holds the lock: one that an agent before this one started and could not note."""
    try:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _end(record: ProcessRecord) -> None:
    if record.send(signal.SIGTERM) and not record.wait(_END_WITHIN_S):
        record.send(signal.SIGKILL)
        record.wait(_KILL_AFTER_S)


def _free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host.removeprefix("[").removesuffix("]"), int(port))):
            return True
    except OSError:
        return False


def _last_line(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing"
