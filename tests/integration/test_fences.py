"""Every fence is broken on purpose, one at a time, and some random schedule must notice."""

from __future__ import annotations

import pytest
from fault_runner import scratch
from fault_schedule import made, play
from mutants import MUTANTS

_SEEDS = 200


@pytest.mark.timeout(600)
@pytest.mark.no_cover  # what a broken fence lets happen is no measure of the tests
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_broken_fence_is_noticed(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    with scratch() as folder:
        for seed in range(_SEEDS):
            told = play(made(seed), folder / "installation")
            if told.broken:
                print(f"{name}: seed {seed}: {told.broken[0]}")
                return
    pytest.fail(f"{_SEEDS} schedules did not notice {name.replace('_', ' ')}")
