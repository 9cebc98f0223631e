"""An installation of real processes that somebody kills at random: controllers, workers, shims and programs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from local_installation import eventually
from lodeworks.blocking.client import Client
from lodeworks.channel.pinning import fetch_authority
from lodeworks.profile import Profile
from lodeworks_worker.drivers.process import ProcessDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_BIN = Path(sys.executable).parent
_EXECUTOR = Path(__file__).with_name("chaos_executor.py")
_MUTATED = Path(__file__).with_name("mutated_controller.py")
_MAX_RUNS = 3


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run that somebody may kill: its program, or what holds that program."""

    task_id: str
    shoot: Callable[[], object]
    orphan: Callable[[], object]


@dataclass(slots=True)
class Program:
    """A process that is started again each time it was killed."""

    name: str
    command: list[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        """Starts it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=dict(self.environment), start_new_session=True
            )

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def stop(self) -> None:
        """Asks it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass(slots=True)
class ChaosInstallation:
    """Controllers on one database, two workers, a client that knows all of them.

    `database` is empty for SQLite with one controller, else PostgreSQL's address.
    """

    folder: Path
    database: str = ""
    controllers: int = 1
    workers: int = 2
    programs: dict[str, Program] = field(default_factory=dict)
    profile: Profile | None = None
    mutant: str = ""
    """A mistake of `mutants` that the controllers are started with."""

    drivers: ClassVar[tuple[str, ...]] = ("process",)
    executor: ClassVar[str] = ""
    """What trains; empty for the program that takes the detector's place."""

    def up(self) -> None:
        """Makes everything and starts it."""
        ports = _free_ports(2 * self.controllers)
        people = [f"127.0.0.1:{port}" for port in ports[: self.controllers]]
        agents = [f"127.0.0.1:{port}" for port in ports[self.controllers :]]
        told: dict[str, Any] = {}
        for number in range(self.controllers):
            name = f"controller{number}"
            place = self._place(number)
            answer = self._run("lode-controller", "init", *place, "--json")
            told = json.loads(answer.splitlines()[-1]) | {key: value for key, value in told.items() if value}
            listen = ("--listen", people[number], "--listen-agents", agents[number], "--listen-metrics", "")
            others = [word for one in people for word in ("--address", one)] if self.controllers > 1 else []
            others += [word for one in agents for word in ("--agents-address", one)] if self.controllers > 1 else []
            self._add(name, "lode-controller", "serve", *place, *listen, *others)
            self.programs[name].start()
        server = ",".join(people)
        for one in people:
            eventually(lambda: _listens(one), timeout_s=60, what=f"a controller on {one}")  # noqa: B023
        ca_pem = fetch_authority(server, pinned=told["ca_fingerprint"])
        self.profile = Profile("chaos", server, ca_pem=ca_pem.decode(), token=told["token"], project="default")
        for number in range(self.workers):
            self._add_worker(f"worker{number}", server)

    def _place(self, number: int) -> list[str]:
        state = ["--state", str(self.folder / f"controller{number}")]
        if not self.database:
            return state
        return [*state, "--database", self.database, "--shared", str(self.folder / "shared")]

    def _add_worker(self, name: str, server: str) -> None:
        state = self.folder / name
        with self.client() as client:
            added = client.workers.add(name)
        self._run(
            *("lode-worker", "enroll", server, "--state", str(state)),
            *("--ca", added.ca_fingerprint, "--token", added.token),
        )
        command = json.dumps([sys.executable, str(_EXECUTOR)])
        (state / "worker.toml").write_text(
            f"drivers = {json.dumps(self.drivers)}\nmax_runs = {_MAX_RUNS}\n[executors.detector]\ncommand = {command}\n"
        )
        self._add(name, "lode-worker", "run", "--state", str(state))
        self.programs[name].start()

    def _add(self, name: str, program: str, *arguments: str) -> None:
        command = [str(_BIN / program), *arguments]
        if self.mutant and program == "lode-controller":
            command = [sys.executable, str(_MUTATED), self.mutant, *arguments]
        self.programs[name] = Program(name, command, self.folder / f"{name}.log", self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LODE_", "XDG_"))}
        return kept | {"HOME": str(self.folder), "NO_COLOR": "1"}

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(_BIN / program), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def pictures(self, *, seed: int) -> Path:
        """Writes a zip of some made pictures."""
        path = self.folder / f"made-{seed}.zip"
        command = [
            sys.executable,
            "-m",
            "lodeworks_builtin.generate",
            str(path),
            "--pictures",
            "6",
            "--seed",
            str(seed),
        ]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def client(self) -> Any:
        """Returns a client of every controller; closed when left."""
        return _Open(self.profile)

    def down(self) -> None:
        """Stops everything, runs too."""
        for program in sorted(self.programs.values(), key=lambda one: one.name, reverse=True):
            program.stop()
        for number in range(self.workers):
            asyncio.run(_end_runs(self.folder / f"worker{number}" / "runs"))

    # --- what lives

    def running(self) -> Iterator[RunningRun]:
        """Yields the runs of chaos."""
        for mark in sorted(self.folder.glob("worker*/runs/*/run/child.json")):
            with suppress(OSError, ValueError, KeyError):
                child = int(json.loads(mark.read_text())["pid"])
                shim = int(json.loads(mark.with_name("shim.json").read_text())["pid"])
                if _is(shim, "shim") and _is(child, _EXECUTOR.name):
                    task_id = mark.parents[1].name.rpartition("-")[0]
                    yield RunningRun(task_id, partial(_kill, child), partial(_kill, shim))

    def left_behind(self) -> list[str]:
        """Returns the folders of runs that are still there."""
        return [str(path.relative_to(self.folder)) for path in sorted(self.folder.glob("worker*/runs/*"))]

    # --- what was written down

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Returns what the database answers."""
        if not self.database:
            connection = sqlite3.connect(self.folder / "controller0" / "lode.db")
            try:
                return [tuple(row) for row in connection.execute(query)]
            finally:
                connection.close()
        return asyncio.run(_of_postgres(self.database, query))


class _Open:
    """A client for as long as it is needed."""

    def __init__(self, profile: Profile | None) -> None:
        assert profile is not None
        self._client = Client(profile)

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is(pid: int, word: str) -> bool:
    with suppress(OSError):
        return word in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


async def _end_runs(folder: Path) -> None:
    driver = ProcessDriver(folder, environment={})
    for run in await driver.found():
        await driver.remove(run)


async def _of_postgres(address: str, query: str) -> list[tuple[Any, ...]]:
    import asyncpg  # noqa: PLC0415 - only where there is PostgreSQL

    connection = await asyncpg.connect(address)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
