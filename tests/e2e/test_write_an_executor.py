"""Types what docs/write-an-executor.md tells the author of an executor to type, with nothing else at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from local_installation import LocalWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/write-an-executor.md"
STEPS = steps(PAGE)
DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
BASE = "python:3.11-slim"
IMAGES = ("places:1", "places:2")


def _has_base() -> bool:
    if DOCKER is None:
        return False
    asked = subprocess.run([DOCKER, "image", "inspect", BASE], capture_output=True, check=False, timeout=30)
    return asked.returncode == 0


pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not _has_base(), reason=f"no docker engine with the image {BASE}"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A home with nothing in it."""
    world = LocalWorld(tmp_path)
    assert DOCKER is not None
    folders = (Path(sys.executable).parent, Path(DOCKER).parent, os.environ["PATH"])
    world.environment |= {"PATH": ":".join(map(str, folders)), "DOCKER_BUILDKIT": "0"}
    world.state = tmp_path / ".local/share/lodeworks"
    yield world
    world.down()
    subprocess.run([DOCKER, "image", "rm", "-f", *IMAGES], capture_output=True, check=False, timeout=60)


def test_the_page_can_be_typed(world: LocalWorld):
    assert len(STEPS) >= 15
    said: dict[str, str] = {}
    for step in STEPS:
        code, said[step.command] = _type(world, step.command)
        assert code == step.code, f"{PAGE.name}:{step.line}: {step.command} → {code}\n{said[step.command]}"
        plain = " ".join(said[step.command].split())
        for shown in step.shown:
            assert " ".join(shown.split()) in plain, f"{PAGE.name}:{step.line}: {shown}\n{said[step.command]}"
    again = world.lode("executor", "new", "places", ok=False)
    assert (again.code, "places is there already and is not empty; name another folder" in again.err) == (1, True)
    assert len(world.json("executor", "new", "others")) == 10
    stage = world.json("model", "show", "places@1")["stages"][0]
    assert [file["name"] for file in stage["files"]] == ["places.json"]
    assert world.json("dataset", "show", "mined")["picture_count"] == 5
    assert world.json("evaluation", "ls")[0]["model_name"].startswith("places@1")


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
            timeout=300,
            check=False,
        )
        said.seek(0)
        return done.returncode, said.read()
