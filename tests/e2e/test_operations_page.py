"""Types what docs/operations.md tells an operator to type, on one installation of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from local_installation import LocalWorld
from object_stores import make_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/operations.md"
STEPS = steps(PAGE)
STATES = ("one", "two")


@pytest.fixture
def world(tmp_path: Path, s3_address: str) -> Iterator[LocalWorld]:
    """An operator's home: nothing in it. An object store is there, with a bucket."""
    world = LocalWorld(tmp_path)
    make_bucket(s3_address, "content")
    world.environment |= {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    yield world
    for mark in tmp_path.glob("*.pid"):  # of a page that broke off
        with suppress(ProcessLookupError):
            os.kill(int(mark.read_text()), signal.SIGTERM)
    for state in STATES:
        world.state = tmp_path / state
        world.down()


@pytest.mark.timeout(600)
def test_the_page_can_be_typed_and_what_was_backed_up_is_there_again(world: LocalWorld):
    assert len(STEPS) >= 25
    for step in STEPS:
        code, said = _type(world, step.command)
        assert code == step.code, f"{PAGE.name}:{step.line}: {step.command} → {code}\n{said}"
        if step.command.startswith("lode dataset ls"):
            assert "made" in said
        if step.command.startswith("lode audit ls --since"):
            assert "task.succeeded" in said
        if step.command in {"lode backup verify backups/monday", "lode-controller verify backups/s3"}:
            assert "whole: every byte is as it was" in said
    with zipfile.ZipFile(world.folder / "made.zip") as archive:
        pictures = [name for name in archive.namelist() if name.endswith((".jpg", ".png"))]
    assert len(pictures) == 12
    assert any(entry["action"] == "installation.restore" for entry in world.json("audit", "ls", "--installation"))
    assert world.json("schedule", "ls") == []
    assert world.json("webhook", "ls") == []
    assert world.json("message", "ls") != []


def test_a_refused_restore_says_why_and_ends_with_4(world: LocalWorld):
    (world.folder / "full").mkdir()
    (world.folder / "full" / "controller").mkdir()
    (world.folder / "full" / "controller" / "something").touch()
    said = world.lode("backup", "restore", world.folder / "nothing", "--state", world.folder / "full", ok=False)
    assert said.code == 4
    assert "overwrites nothing" in said.err
    said = world.lode("backup", "create", world.folder / "b", "--state", world.folder / "none", ok=False)
    assert said.code == 4
    assert "there is no installation" in said.err


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
