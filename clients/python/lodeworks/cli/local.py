"""An installation of one's own on this machine: a controller and a worker, started and stopped together."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lodeworks.cli import programs
from lodeworks.cli.programs import Running
from lodeworks.errors import LodeError, RefusedError
from lodeworks.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NOTE = "installation.json"
_READY_S = 60.0


class LocalInstallation:
    """A controller and a worker whose everything lies under one folder.

    Args:
        folder: The state; made with mode 0700.
        say: Told what happens, one line each.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say

    @property
    def log_folder(self) -> Path:
        """Returns where the programs' logs lie."""
        return self.folder / "logs"

    def up(self, *, with_worker: bool = True) -> Profile:
        """Starts what does not run yet; returns how to reach it. Safe to repeat, also at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            profile = self._controller_up()
            if with_worker:
                self._worker_up(profile)
        return profile

    def down(self) -> bool:
        """Stops both; says whether anything ran. Runs of executors live on and are found again."""
        if not self.folder.exists():
            return False
        with self._locked():
            running = [program for program in (self.program("worker"), self.program("controller")) if program]
            for program in running:
                programs.stop(program)
        return bool(running)

    def program(self, name: str) -> Running | None:
        """Returns the controller or the worker if it runs."""
        entry = self._note().get(name)
        found = Running(**entry) if entry else None
        return found if found and found.alive else None

    def address(self) -> str:
        """Returns where people reach the controller; empty before the first start."""
        port = self._note().get("ports", {}).get("listen")
        return f"127.0.0.1:{port}" if port else ""

    def _controller_up(self) -> Profile:
        state = self.folder / "controller"
        command = programs.find("lode-controller")
        running = self.program("controller")
        note = self._note()
        if "token" not in note:
            answer = json.loads(programs.run([command, "init", "--state", str(state), "--json"]).splitlines()[-1])
            note |= {"token": answer["token"], "ca_fingerprint": answer["ca_fingerprint"]}
            self._remember(note)
        if running is None:
            note |= {"ports": note.get("ports") or _free_ports()}
            self._start_controller(command, state, note)
        else:
            self._say(f"a controller runs here already (pid {running.pid}); using it")
        return self._profile(note)

    def _start_controller(self, command: str, state: Path, note: dict[str, Any]) -> None:
        ports = note["ports"]
        for port in (ports["listen"], ports["agents"]):
            _require_free(port)
        (state / "controller.json").unlink(missing_ok=True)
        log = self.log_folder / "controller.log"
        arguments = [command, "serve", "--state", str(state)]
        for name, flag in (("listen", "--listen"), ("agents", "--listen-agents"), ("metrics", "--listen-metrics")):
            arguments += [flag, f"127.0.0.1:{ports[name]}"]
        running = programs.start(arguments, log=log)
        self._remember(note | {"controller": asdict(running)})
        programs.wait_for(
            (state / "controller.json").exists, running, log=log, what="the controller", timeout_s=_READY_S
        )
        note |= {"controller": asdict(running)}

    def _worker_up(self, profile: Profile) -> None:
        from lodeworks.blocking.client import Client

        command = programs.find("lode-worker")
        state = self.folder / "worker"
        client = Client(profile)
        try:
            if not self._note().get("worker_enrolled"):
                self._enrol(command, state, client, profile)
            running = self.program("worker")
            if running is None:
                log = self.log_folder / "worker.log"
                running = programs.start([command, "run", "--state", str(state), *self._store()], log=log)
                self._remember(self._note() | {"worker": asdict(running)})
                programs.wait_for(lambda: _online(client), running, log=log, what="the worker", timeout_s=_READY_S)
        finally:
            client.close()

    def _store(self) -> list[str]:
        """Returns the worker's option for the controller's folder of content, which both see here."""
        content = self.folder / "controller" / "blobs"
        return ["--store", str(content)] if (content / "nonce").is_file() else []

    def _enrol(self, command: str, state: Path, client: Any, profile: Profile) -> None:
        if any(worker.name == "local" for worker in client.workers.list()):
            client.workers.delete("local")  # announced before a crash; its token is lost
        added = client.workers.add("local")
        programs.run(
            (
                *(command, "enroll", profile.server, "--state", str(state)),
                *("--ca", added.ca_fingerprint, "--token", added.token),
            )
        )
        self._remember(self._note() | {"worker_enrolled": True})

    def _profile(self, note: dict[str, Any]) -> Profile:
        from lodeworks.channel.errors import ChannelError
        from lodeworks.channel.pinning import fetch_authority

        server = f"127.0.0.1:{note['ports']['listen']}"
        try:
            authority = fetch_authority(server, pinned=note["ca_fingerprint"])
        except ChannelError as error:
            raise LodeError(str(error), reason=error.reason) from error
        return Profile(
            name="local",
            server=server,
            ca_pem=authority.decode("ascii"),
            ca_fingerprint=note["ca_fingerprint"],
            token=note["token"],
            project="default",
        )

    def _note(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / _NOTE).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise LodeError(
                f"{self.folder / _NOTE} is damaged ({error}); restore it or choose another --state"
            ) from error
        return found

    def _remember(self, note: dict[str, Any]) -> None:
        temporary = self.folder / f"{_NOTE}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(note, file, indent=2)
        temporary.replace(self.folder / _NOTE)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "installation.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _online(client: Any) -> bool:
    from lodeworks.api.worker.v1.worker_pb2 import WORKER_STATE_ONLINE

    return any(worker.name == "local" and worker.state == WORKER_STATE_ONLINE for worker in client.workers.list())


def _require_free(port: int) -> None:
    """Raises RefusedError when another program has a port that this installation keeps."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RefusedError(
                f"another program uses port {port}, under which this installation is known ({error.strerror}); "
                f"find it with `ss -ltnp 'sport = :{port}'` and stop it, or name another --state",
                reason="PORT_IN_USE",
            ) from error


def _free_ports() -> dict[str, int]:
    """Returns ports that are free now; they are kept for good."""
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        ports = {}
        for name, probe in (("listen", first), ("agents", second), ("metrics", third)):
            probe.bind(("127.0.0.1", 0))
            ports[name] = int(probe.getsockname()[1])
        return ports
