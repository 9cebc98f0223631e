"""Types what the pages on blobs and logs tell a person to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from local_installation import LocalWorld

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A home with nothing in it."""
    world = LocalWorld(tmp_path)
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    world.state = tmp_path / "lab"
    yield world
    world.down()


@pytest.mark.timeout(300)
def test_the_page_on_blobs(world: LocalWorld):
    said = _follow(world, "blobs.md", at_least=7)
    assert "default" in said["lode storage usage"]
    assert "would remove 0 blobs" in said["lode storage collect --dry-run"]
    assert "removed 0 blobs" in said["lode storage collect"]


@pytest.mark.timeout(300)
def test_the_page_on_logs(world: LocalWorld):
    said = _follow(world, "logs.md", at_least=5)
    assert "started by the process driver" in said["lode task logs $(cat task) --worker"]
    assert "succeeded" in said["lode task show $(cat task)"].lower()


def _follow(world: LocalWorld, page: str, *, at_least: int) -> dict[str, str]:
    """Types every step of a page; returns what each command said."""
    found = steps(ROOT / "docs" / page)
    assert len(found) >= at_least
    return {step.command: _type(world, step.command, place=f"{page}:{step.line}") for step in found}


def _type(world: LocalWorld, command: str, *, place: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        env=world.environment,
        cwd=world.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{place}: {command} → {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
