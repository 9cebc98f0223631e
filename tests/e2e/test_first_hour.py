"""Types what docs/first-hour.md and docs/status.md tell a stranger to type, with made pictures in place of theirs."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, Step, status_rows, steps
from local_installation import LocalWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/first-hour.md"
STEPS = steps(PAGE)
PICTURES = {"bccd-trainval.zip": 120, "bccd-test.zip": 24}
EPOCHS = 25
DOCUMENTED_PORT = "8090"
STEP_S = 400.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A stranger's home: two zips, nothing running."""
    world = LocalWorld(tmp_path)
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    for number, (name, count) in enumerate(PICTURES.items()):
        shutil.move(world.made_pictures(pictures=count, seed=number + 1), tmp_path / name)
    yield world
    _type(world, "lode-device shutdown --state gate-1; lode down")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page asks the device with curl, which is not installed")
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_first_hour_can_be_typed_and_what_works_works(world: LocalWorld):
    assert len(STEPS) >= 15
    typist = Typist(world)
    for step in STEPS:
        if step.command.startswith("lode-device shutdown"):
            _type_what_works(typist)
        said = typist.types(step.command, code=step.code, place=f"{PAGE.name}:{step.line}")
        _check_shown(step, said)
    assert "<html" in (world.folder / "report.html").read_text("utf-8")


def _type_what_works(typist: Typist) -> None:
    """Types the rows of the status page that name this test, but for what the page itself typed."""
    typed = {step.command for step in STEPS}
    failures = []
    for row in status_rows():
        if row.state == "works" and row.test.endswith(Path(__file__).name):
            for command in row.commands:
                if command not in typed:
                    try:
                        typist.types(command, code=0, place=f"status.md:{row.line}")
                    except AssertionError as error:
                        failures.append(str(error))  # the rows after it are worth knowing too
    assert not failures, "\n".join(failures)


class Typist:
    """Types commands as a person would, and remembers the ids that they print."""

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._port = _free_port()
        self._ids = {"ID": "", "TASK": ""}

    def types(self, command: str, *, code: int, place: str) -> str:
        """Types a command and returns what it said; fails the test when it ends with another exit code."""
        command = command.replace(DOCUMENTED_PORT, self._port)
        for name, value in self._ids.items():
            command = re.sub(rf"\b{name}\b", value, command)
        if command.startswith("lode model train") and "--dry-run" not in command:
            command += f" --set epochs={EPOCHS}"
        done = _type(self._world, command)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{place}: {command} → {done.returncode}\n{said}"
        self._note("ID", r", evaluation (\w+)$", done.stdout)
        if command.startswith("lode model train"):
            self._note("TASK", r"^task\s+(\w+)$", done.stdout)
        return said

    def _note(self, name: str, pattern: str, said: str) -> None:
        found = re.search(pattern, said, re.MULTILINE)
        if found:
            self._ids[name] = found[1]


def _type(world: LocalWorld, command: str) -> subprocess.CompletedProcess[str]:
    # In files: a program that is left running keeps a pipe open.
    with (world.folder / "said.txt").open("w+") as out, (world.folder / "complained.txt").open("w+") as err:
        done = subprocess.run(
            ["bash", "-c", command],
            env=world.environment,
            cwd=world.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=STEP_S,
            check=False,
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())


def _check_shown(step: Step, said: str) -> None:
    """Every line that the page shows begins as a line of what was said begins: the words stay, numbers differ."""
    beginnings = {_beginning(line) for line in said.splitlines()}
    for line in step.shown:
        assert _beginning(line) in beginnings, f"{PAGE.name}:{step.line} shows {line!r}; it said\n{said}"


def _beginning(line: str) -> str:
    word = re.split(r"[\s:(\[]", line.strip(), maxsplit=1)[0]
    return re.sub(r"\d+", "#", word)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
