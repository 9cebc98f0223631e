"""kill -9 at random instants of commit and collection of dataset versions: nothing half, nothing missing, no orphans.

LODE_SOAK_SHARE is the share of 200 kills (1), LODE_SOAK_SEED chooses the instants.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_committer import check, orphans

SEED = int(os.environ.get("LODE_SOAK_SEED", "1"))
SHARE = float(os.environ.get("LODE_SOAK_SHARE", "1"))
KILLS = max(3, round(200 * SHARE))
PROGRAM = Path(__file__).resolve().parents[1] / "world/dataset_committer.py"


def run_and_kill(root: Path, *words: str, after_s: float) -> None:
    """Starts the program and kills it so long after it began to work."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(root), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "working\n", program.stderr.read()
        try:
            ended = program.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
            program.wait()
            return
        raise AssertionError(f"the program ended by itself with {ended}: {program.stderr.read()}")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_kill_leaves_half_a_version_or_takes_an_object_away(tmp_path: Path):
    chance, whole = random.Random(SEED), 0
    print(f"\n{KILLS} kills, seed {SEED}")
    for number in range(KILLS):
        run_and_kill(tmp_path / "site", after_s=chance.uniform(0.02, 1.5))
        count, wrong = asyncio.run(check(tmp_path / "site"))
        assert not wrong, f"after kill {number + 1} (seed {SEED}): {wrong}"
        whole += count
    assert whole, "no version was ever made: the kills come too soon"
    assert asyncio.run(orphans(tmp_path / "site")) == 0
    assert asyncio.run(check(tmp_path / "site"))[1] == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_broken_commit_order_is_found(tmp_path: Path):
    """Whoever commits before the objects are stored is found out by the same check."""
    chance = random.Random(SEED)
    for number in range(40):
        root = tmp_path / str(number)
        run_and_kill(root, "broken", after_s=chance.uniform(0.5, 2.0))
        if asyncio.run(check(root))[1]:
            return
    raise AssertionError("40 kills of a broken order left everything whole: the check sees nothing")
