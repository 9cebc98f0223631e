"""Versions of a few pictures, one after another: what a version costs beside its pictures."""

import asyncio
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path

from dataset_rows.figures import Bench
from lodeworks_controller.domain.operation import Sample, Split
from lodeworks_controller.storage.segments.pool import Pool

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "world"))

_VERSIONS = 50
_PARTS = (20, 20, 10)
_ROUNDS = 3


def measure_commits(bench: Bench) -> None:
    """Makes 50 versions by as many calls, one after another and at once, and by three splits; the best of some rounds.

    Database and blobs are the controller's own, with synchronous FULL and a sync for every batch of blobs.
    """
    pool = Pool(processes=2).start()
    folder = bench.folder / "commits"
    folder.mkdir()
    try:
        found = asyncio.run(_measured(folder, pool))
    finally:
        pool.close()
        shutil.rmtree(folder)
    for name, (wall_s, spent_s) in found.items():
        bench.note(f"50 tiny versions, {name}", wall_s * 1000, "ms", most=200, always=True)
        bench.note(f"50 tiny versions, {name}: processor of the controller", spent_s * 1000, "ms")


async def _measured(folder: Path, pool: Pool) -> dict[str, tuple[float, float]]:
    made = import_module("dataset_world")  # of the tests: a controller without its wire
    world = await made.DatasetWorld(folder, pool).open()
    try:
        await world.project()
        pictures = [made.picture(number, made.box("RBC"), made.box("WBC")) for number in range(200)]
        await world.imported("cells", "pool", pictures)
        ada, operations = world.administrator, world.operations

        async def one(number: int) -> None:
            await operations.sample(ada, "cells", "pool", sample=Sample(count=10), seed=number, to=f"s{number}")

        async def in_turn(first: int) -> None:
            for number in range(first, first + _VERSIONS):
                await one(number)

        async def at_once(first: int) -> None:
            await asyncio.gather(*map(one, range(first, first + _VERSIONS)))

        async def split(first: int) -> None:
            for parts in _PARTS:
                shares = {f"p{first}-{parts}-{number}": 1.0 for number in range(parts)}
                await operations.split(ada, "cells", "pool", split=Split(shares), seed=first + parts)

        found = {}
        for name, work in (("three splits", split), ("50 calls at once", at_once), ("50 calls in turn", in_turn)):
            best, spent = float("inf"), float("inf")
            for turn in range(_ROUNDS):
                start, before = time.perf_counter(), time.process_time()
                await work(turn * _VERSIONS)
                best = min(best, time.perf_counter() - start)
                spent = min(spent, time.process_time() - before)
            found[name] = best, spent
        return found
    finally:
        await world.close()
