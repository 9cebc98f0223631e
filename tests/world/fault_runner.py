"""Plays many schedules, over several processes, and tells of those that fail in their smallest form."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fault_schedule import made, play, smallest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 25
_CLEAR_EVERY = 400
_TELL_EVERY = 500
_SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """Yields a folder for schedules, in memory where there is one to be had: nothing in it needs to last."""
    inside = str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="lode-simulated-", dir=inside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many schedules were played, in how many seconds, and the stories of those that failed."""

    played: int
    took_s: float
    stories: tuple[str, ...]


def play_seeds(first: int, count: int, *, most_failures: int = 3) -> list[str]:
    """Plays the schedules of some seeds in this process; returns the stories of those that fail."""
    stories: list[str] = []
    with scratch() as folder:
        for number, seed in enumerate(range(first, first + count)):
            if number % _CLEAR_EVERY == _CLEAR_EVERY - 1:
                shutil.rmtree(folder / "blobs", ignore_errors=True)
            played = play(made(seed), folder / "installation")
            if played.broken:
                stories.append(smallest(played, folder / "installation").story())
                if len(stories) >= most_failures:
                    break
    return stories


def play_many(first: int, count: int, *, processes: int, most_failures: int = 5) -> Tally:
    """Plays the schedules of many seeds over several processes; gives up after some failures."""
    begun = time.monotonic()
    os.environ["PYTHONHASHSEED"] = "0"  # of the processes started here: sets of strings have one order
    stories: list[str] = []
    played = 0
    parts = [(start, min(_CHUNK, first + count - start)) for start in range(first, first + count, _CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for (_, size), told in zip(parts, pool.map(_play_part, parts), strict=True):
            played += size
            stories += told
            if played % _TELL_EVERY == 0:
                print(f"{played} of {count} schedules, {time.monotonic() - begun:.0f} s", flush=True)
            if len(stories) >= most_failures:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    return Tally(played, time.monotonic() - begun, tuple(stories))


def _play_part(part: tuple[int, int]) -> list[str]:
    return play_seeds(*part)
