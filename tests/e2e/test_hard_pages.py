"""Types what the pages on tasks, leases, placement and high availability tell a person to type."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from local_installation import LocalWorld, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = ("7443", "7444", "8443", "8444")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A home with nothing in it."""
    world = LocalWorld(tmp_path)
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    world.state = tmp_path / "lab"
    yield world
    for note in tmp_path.glob("*.pid"):
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(note.read_text()), signal.SIGKILL)
    world.down()


@pytest.mark.timeout(600)
def test_the_page_on_leases(world: LocalWorld):
    said = _follow(world, "leases.md", at_least=14)
    assert "succeeded" in said["lode task show $(cat task)"][0].lower()


@pytest.mark.timeout(600)
def test_the_page_on_placement(world: LocalWorld):
    said = _follow(world, "placement.md", at_least=18)
    elsewhere, big, later = said["lode task show $(cat task)"]
    assert "hall-2" in elsewhere
    assert "GPU" in big
    assert "drain" in later


@pytest.mark.timeout(600)
def test_the_page_on_tasks(world: LocalWorld):
    said = _follow(world, "tasks.md", at_least=16)
    (died,) = said["lode task show $(cat task)"]
    assert "TIMEOUT: the run took longer than its limit of 5 s" in died
    assert "lode task retry" in died


@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_the_page_on_high_availability(world: LocalWorld, postgres_url: str):
    world.environment["DATABASE"] = postgres_url
    world.folder.chmod(0o755)
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    _follow(world, "high-availability.md", at_least=18, ports=ports)


def _follow(
    world: LocalWorld, page: str, *, at_least: int, ports: dict[str, str] | None = None
) -> dict[str, list[str]]:
    """Types every step of a page; returns what each command said, each time."""
    found = steps(ROOT / "docs" / page)
    assert len(found) >= at_least
    told: dict[str, list[str]] = {}
    for step in found:
        command = step.command
        for documented, port in (ports or {}).items():
            command = command.replace(f":{documented}", f":{port}")
        code, said = _typed_and_told(world, command)
        assert code == step.code, f"{page}:{step.line}: {command} → {code}\n{said}"
        told.setdefault(step.command, []).append(said)
    return told


def _typed_and_told(world: LocalWorld, command: str) -> tuple[int, str]:
    """Types a command; one that shows a waiting task is typed again until the reason is told, as a person would."""
    answers: list[tuple[int, str]] = []

    def told() -> bool:
        answers.append(_type(world, command))
        return "task show" not in command or not re.search(r"^state\s+queued$", answers[-1][1], re.MULTILINE)

    eventually(told, what=f"the reason in {command}")
    return answers[-1]


def _type(world: LocalWorld, command: str) -> tuple[int, str]:
    # In a file: a program that is left running keeps a pipe open.
    with (world.folder / "said.txt").open("w+") as said:
        done = subprocess.run(
            ["bash", "-c", command],
            env=world.environment,
            cwd=world.folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=200,
            check=False,
        )
        said.seek(0)
        return done.returncode, said.read()


def _free_ports(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
