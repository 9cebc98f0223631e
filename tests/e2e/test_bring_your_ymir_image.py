"""Types what docs/bring-your-ymir-image.md tells the owner of an image to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sample_images
from documented_commands import ROOT, steps
from local_installation import LocalWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = steps(ROOT / "docs/bring-your-ymir-image.md")
IMAGE = "registry.example/yours:1.0"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(sample_images.missing()), reason=sample_images.missing() or "all is here"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A home with nothing in it, and an image on ymir-exc under the name that the page gives it."""
    sample_images.tag(sample_images.build("legacy", tmp_path / "image"), IMAGE)
    world = LocalWorld(tmp_path)
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    world.state = tmp_path / ".local/share/lodeworks"
    yield world
    world.down()
    sample_images.untag(IMAGE)


def test_every_step_does_what_the_page_says(world: LocalWorld):
    assert len(STEPS) >= 10
    for step in STEPS:
        code, said = _type(world, step.command)
        assert code == step.code, f"line {step.line}: {step.command} → {code}\n{said}"
        for line in step.shown:
            assert _plain(line) in _plain(said), f"line {step.line}: {step.command} does not say {line!r}\n{said}"


def _type(world: LocalWorld, command: str) -> tuple[int, str]:
    # Into a file: a program that is left running keeps a pipe open.
    with (world.folder / "said.txt").open("w+") as said:
        done = subprocess.run(
            ["bash", "-c", command],
            env=world.environment,
            cwd=world.folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=180,
            check=False,
        )
        said.seek(0)
        return done.returncode, said.read()


def _plain(text: str) -> str:
    return " ".join(text.split())
