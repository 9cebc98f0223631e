"""A whole installation of real processes under one folder, driven through `lode` as a person would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lodeworks.blocking.client import Client
from lodeworks.profile import Profile
from lodeworks_worker.drivers.process import ProcessDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LODE = str(Path(sys.executable).with_name("lode"))
DEVICE = str(Path(sys.executable).with_name("lode-device"))


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class LocalWorld:
    """An installation, its user's folders, and the devices enrolled with it.

    Args:
        folder: Where everything lies; HOME of the programs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._devices: list[Path] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LODE_", "XDG_"))}
        self.environment = kept | {"HOME": str(folder), "NO_COLOR": "1"}

    def lode(self, *arguments: str | Path, ok: bool = True, timeout_s: float = 600.0) -> Said:
        """Runs `lode`; with ok, a failure fails the test with everything it said."""
        done = subprocess.run(
            [LODE, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert not ok or said.code == 0, f"lode {' '.join(map(str, arguments))} → {said.code}\n{said.out}\n{said.err}"
        return said

    def json(self, *arguments: str | Path) -> Any:
        """Runs `lode … -o json` and returns the document."""
        return json.loads(self.lode(*arguments, "-o", "json").out)

    def up(self) -> None:
        """Starts what does not run."""
        self.lode("up", "-d", "--state", self.state)

    def down(self) -> None:
        """Stops everything, the devices too, and runs, which would outlive a worker."""
        for device in self._devices:
            subprocess.run(
                [DEVICE, "shutdown", "--state", str(device)], env=self.environment, check=False, capture_output=True
            )
        self.lode("down", "--state", self.state, ok=False)
        asyncio.run(_end_runs(self.state / "worker" / "runs"))

    def kill(self, name: str) -> int:
        """Ends the controller or the worker with SIGKILL; returns the pid it had."""
        note = json.loads((self.state / "installation.json").read_text())
        pid = int(note[name]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def profile(self) -> Profile:
        """Returns the profile that `lode up` wrote."""
        document = yaml.safe_load((self.folder / ".config/lodeworks/profiles.yaml").read_text())
        return Profile(name="local", **document["profiles"]["local"])

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yields a client of the installation."""
        client = Client(self.profile())
        try:
            yield client
        finally:
            client.close()

    def enrol_device(self, name: str, *, project: str = "default") -> Path:
        """Announces and enrols a device; returns its state folder."""
        added = self.json("device", "add", name, "--project", project)
        state = self.folder / f"device-{name}"
        line = added["line"].split()
        subprocess.run(
            [DEVICE, *line[1:], "--state", str(state)], env=self.environment, check=True, capture_output=True, text=True
        )
        self._devices.append(state)
        return state

    def start_device(self, state: Path) -> subprocess.Popen[bytes]:
        """Starts the agent of an enrolled device."""
        with (state.parent / f"{state.name}.log").open("ab") as log:
            return subprocess.Popen(
                [DEVICE, "run", "--state", str(state)],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def made_pictures(self, *, pictures: int, seed: int, rejects: int = 0) -> Path:
        """Writes a zip of made pictures."""
        path = self.folder / f"made-{pictures}-{seed}.zip"
        subprocess.run(
            (
                *(sys.executable, "-m", "lodeworks_builtin.generate", str(path)),
                *("--pictures", str(pictures), "--seed", str(seed), "--rejects", str(rejects)),
            ),
            check=True,
            capture_output=True,
        )
        return path


async def _end_runs(folder: Path) -> None:
    driver = ProcessDriver(folder, environment={})
    for run in await driver.found():
        await driver.remove(run)


def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0, what: str = "the condition") -> None:
    """Waits until a condition holds, or fails the test."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not hold within {timeout_s:.0f} s"
        time.sleep(0.05)
