"""Several real controllers on one PostgreSQL database, and real workers that know all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_installation import eventually
from lodeworks.blocking.client import Client
from lodeworks.channel.pinning import fetch_authority
from lodeworks.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PROGRAMS = Path(sys.executable).parent
_READY_S = 60.0


class SeveralControllers:
    """One installation of several controllers.

    Args:
        folder: Where everything lies; HOME of the programs.
        database_url: Their database, empty.
        names: One for each controller.
    """

    def __init__(self, folder: Path, database_url: str, *, names: Sequence[str] = ("a", "b")) -> None:
        self.folder = folder
        self.names = tuple(names)
        self._url = database_url
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = _free_ports([f"{kind} {name}" for kind in ("people", "agents") for name in names])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LODE_", "XDG_"))}
        self.environment: Mapping[str, str] = kept | {"HOME": str(folder), "NO_COLOR": "1"}
        self._told: dict[str, Any] = {}

    @property
    def server(self) -> str:
        """Where people reach it: every controller."""
        return self._addresses("people")

    def init(self) -> None:
        """Makes the installation: each controller's state folder, one database, one shared folder."""
        for name in self.names:
            place = ("--database", self._url, "--shared", str(self.folder / "shared"))
            said = self.run("lode-controller", "init", "--state", str(self.folder / name), "--json", *place)
            told = json.loads(said)
            assert not self._told or self._told["ca_fingerprint"] == told["ca_fingerprint"]
            self._told = told

    def start(self, name: str) -> None:
        """Starts a controller and waits until it listens."""
        ports = self._ports
        arguments = [
            *("serve", "--state", str(self.folder / name), "--listen-metrics", ""),
            *("--listen", f"127.0.0.1:{ports[f'people {name}']}"),
            *("--listen-agents", f"127.0.0.1:{ports[f'agents {name}']}"),
        ]
        for one in self.server.split(","):
            arguments += ["--address", one]
        for one in self._addresses("agents").split(","):
            arguments += ["--agents-address", one]
        (self.folder / name / "controller.json").unlink(missing_ok=True)
        self._spawn(name, "lode-controller", *arguments)
        eventually((self.folder / name / "controller.json").exists, timeout_s=_READY_S, what=f"controller {name}")

    def start_worker(self, name: str, *, program: Path | None = None) -> None:
        """Enrols a worker the first time, and starts it; the detector it offers may be a test's program."""
        state = self.folder / name
        if not state.exists():
            state.mkdir()
            command = "" if program is None else json.dumps([sys.executable, str(program)])
            offered = f"[executors.detector]\ncommand = {command}\n" if command else ""
            (state / "worker.toml").write_text(f'drivers = ["process"]\nmax_runs = 3\n{offered}')
            with self.client() as client:
                added = client.workers.add(name)
            trust = ("--ca", added.ca_fingerprint, "--token", added.token)
            self.run("lode-worker", "enroll", self.server, "--state", str(state), *trust)
        self._spawn(name, "lode-worker", "run", "--state", str(state))

    def kill(self, name: str) -> None:
        """Ends a program with SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait(30)

    def stop(self, name: str) -> int:
        """Asks a program to stop; returns its exit code."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def holders(self) -> Mapping[str, str]:
        """Returns role → name of the controller that said last that it has it."""
        found: dict[str, tuple[str, str]] = {}
        for name in self.names:
            for line in self.log(name).splitlines():
                if " this controller is the " in line:
                    role = line.partition(" this controller is the ")[2].split()[0]
                    found[role] = max(found.get(role, ("", "")), (line[:23], name))
        return {role: name for role, (_, name) in found.items()}

    def log(self, name: str) -> str:
        """Returns what a program wrote."""
        return (self.folder / f"{name}.log").read_text()

    def run(self, program: str, *arguments: str) -> str:
        """Runs a program and returns what it said; a failure fails the test with everything it said."""
        done = subprocess.run(
            [str(_PROGRAMS / program), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def credentials(self) -> Sequence[str]:
        """Returns the options of `lode login` for the administrator."""
        return ("--ca", self._told["ca_fingerprint"], "--token", self._told["token"])

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yields a client of the installation, which knows all controllers."""
        fingerprint = self._told["ca_fingerprint"]
        authority = fetch_authority(self.server, pinned=fingerprint).decode("ascii")
        client = Client(
            Profile("several", self.server, authority, fingerprint, token=self._told["token"], project="default")
        )
        try:
            yield client
        finally:
            client.close()

    def down(self) -> None:
        """Ends every program."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait(30)
        self._running.clear()

    def _addresses(self, kind: str) -> str:
        return ",".join(f"127.0.0.1:{self._ports[f'{kind} {name}']}" for name in self.names)

    def _spawn(self, name: str, program: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(_PROGRAMS / program), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _free_ports(names: Sequence[str]) -> dict[str, int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in names]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return {name: int(probe.getsockname()[1]) for name, probe in zip(names, probes, strict=True)}
