"""The controller's memory does not grow with what it has done: RSS at the end against RSS at a fifth of the run.

LODE_SOAK_SHARE is the share of 100,000 polls and 20,000 tasks (1).
"""

import sys
from pathlib import Path

import pytest
from soak_share import SHARE

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from task_queues.drift import measure_drift

LEAST = 0.25
"""A shorter run ends before the caches are full."""
MOST = 1.05


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_memory_does_not_grow_over_polls_and_tasks():
    share = max(SHARE, LEAST)
    found = await measure_drift(polls=int(100_000 * share), tasks=int(20_000 * share))
    print(f"RSS {found['rss_at_20_mb']:.1f} MB at 20 %, {found['rss_at_end_mb']:.1f} MB at the end")
    assert found["rss_ratio"] <= MOST
