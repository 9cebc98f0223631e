"""Types what docs/first-hour.md tells a stranger to type, with made pictures in place of theirs."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, Step, steps
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
@pytest.mark.timeout(900)
def test_the_first_hour_can_be_typed(world: LocalWorld):
    port = _free_port()
    evaluation = ""
    assert len(STEPS) >= 15
    for step in STEPS:
        command = step.command.replace(DOCUMENTED_PORT, port)
        command = re.sub(r"\bID\b", evaluation, command)
        if command.startswith("lode model train"):
            command += f" --set epochs={EPOCHS}"
        done = _type(world, command)
        said = done.stdout + done.stderr
        assert done.returncode == step.code, f"{PAGE.name}:{step.line}: {command} → {done.returncode}\n{said}"
        _check_shown(step, said)
        found = re.search(r", evaluation (\w+)$", done.stdout, re.MULTILINE)
        evaluation = found[1] if found else evaluation
    assert evaluation
    assert "<html" in (world.folder / "report.html").read_text("utf-8")


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
