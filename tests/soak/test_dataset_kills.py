"""kill -9 at random instants of commit and collection of dataset versions: nothing half, nothing missing, no orphans.

LODE_SOAK_SHARE is the share of 200 kills (1), LODE_SOAK_SEED chooses the instants.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dataset_committer import check, orphans
from soak_share import SEED, SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = max(3, round(200 * SHARE))
PROGRAM = Path(__file__).resolve().parents[1] / "world/dataset_committer.py"


class Victims:
    """Starts workers and kills them.

    Args:
        complaints: Where the program's complaints go.
    """

    def __init__(self, complaints: Path) -> None:
        self._complaints = complaints
        with complaints.open("w") as stderr:
            self._program = subprocess.Popen(
                [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def run_and_kill(self, root: Path, *words: str, after_s: float) -> None:
        """Starts a worker and kills it so long after it began to work."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(" ".join([str(root), *words]) + "\n")
        self._program.stdin.flush()
        said = self._program.stdout.readline().split()
        assert said[:1] == ["working"], f"it said {said}: {self._complaints.read_text()}"
        ended, _, _ = select.select([self._program.stdout], [], [], after_s)
        if not ended:
            os.kill(int(said[1]), signal.SIGKILL)
        status = self._program.stdout.readline().split()
        assert status == ["ended", str(-signal.SIGKILL)], f"it ended by itself: {self._complaints.read_text()}"

    def close(self) -> None:
        """Ends the program."""
        self._program.communicate(timeout=30)


@pytest.fixture
def victims(tmp_path: Path) -> Iterator[Victims]:
    running = Victims(tmp_path / "complaints.txt")
    yield running
    running.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_kill_leaves_half_a_version_or_takes_an_object_away(tmp_path: Path, victims: Victims):
    chance, whole = random.Random(SEED), 0
    print(f"\n{KILLS} kills, seed {SEED}")
    for number in range(KILLS):
        victims.run_and_kill(tmp_path / "site", after_s=chance.uniform(0.02, 1.5))
        count, wrong = asyncio.run(check(tmp_path / "site"))
        assert not wrong, f"after kill {number + 1} (seed {SEED}): {wrong}"
        whole += count
    assert whole, "no version was ever made: the kills come too soon"
    assert asyncio.run(orphans(tmp_path / "site")) == 0
    assert asyncio.run(check(tmp_path / "site"))[1] == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_broken_commit_order_is_found(tmp_path: Path, victims: Victims):
    """Whoever commits before the objects are stored is found out by the same check."""
    chance = random.Random(SEED)
    for number in range(40):
        root = tmp_path / str(number)
        victims.run_and_kill(root, "broken", after_s=chance.uniform(0.5, 2.0))
        if asyncio.run(check(root))[1]:
            return
    raise AssertionError("40 kills of a broken order left everything whole: the check sees nothing")
