"""Ten thousand random fault schedules in the simulated installation.

LODE_SOAK_SEED chooses the first seed, LODE_SOAK_SHARE how many (1 = 10,000), LODE_SOAK_PROCESSES over how many
processes.
A failing seed tells its smallest schedule and what happened in it.
"""

from __future__ import annotations

import os

import pytest
from fault_runner import play_many
from soak_share import SEED, SHARE

PROCESSES = int(os.environ.get("LODE_SOAK_PROCESSES", str(os.cpu_count() or 1)))
SCHEDULES = max(50, round(10_000 * SHARE))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_schedule_of_faults_breaks_an_invariant():
    first = SEED * 1_000_000
    tally = play_many(first, SCHEDULES, processes=PROCESSES)
    print(
        f"\n{tally.played} schedules from seed {first} on, {tally.took_s:.0f} s over {PROCESSES} processes, "
        f"{tally.took_s * PROCESSES / max(1, tally.played) * 1000:.0f} ms each"
    )
    assert not tally.stories, "\n\n".join(("", *tally.stories))
