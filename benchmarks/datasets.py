"""Operations on a dataset of made pictures, timed as the pool runs them; prints a table.

python benchmarks/datasets.py [--pictures 1000000] [--boxes 7] [--folder F]
"""

import argparse
import hashlib
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_controller.domain.expression import parse_condition
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.storage.segments.arrival import arrive
from lodeworks_controller.storage.segments.inspection import inspect_exchange
from lodeworks_controller.storage.segments.job_types import (
    ArriveJob,
    ExcludeJob,
    FilterJob,
    InspectJob,
    Limits,
    Located,
    MergeJob,
    Outcome,
    PageJob,
    PartsJob,
    PositivesJob,
    Source,
    ViewJob,
)
from lodeworks_controller.storage.segments.membership import (
    draw_parts,
    exclude_members,
    filter_members,
    merge_members,
    positives,
)
from lodeworks_controller.storage.segments.page import read_page
from lodeworks_controller.storage.segments.view import build_view
from lodeworks_formats.segments import BOX_TYPE, PICTURES_SCHEMA, write_picture_batches

CLASSES = [f"class{number}" for number in range(20)]
RIDS = {name: number + 1 for number, name in enumerate(CLASSES)}
BATCH = 16_384


def batches(pictures: int, boxes: int) -> Iterator[Any]:
    """Yields made pictures in the exchange form."""
    random = np.random.default_rng(1)
    lists = PICTURES_SCHEMA.field("boxes").type
    for start in range(0, pictures, BATCH):
        count = min(BATCH, pictures - start)
        lengths = random.poisson(boxes, count)
        total = int(lengths.sum())
        x, y = random.random(total) * 500, random.random(total) * 400
        names = pa.DictionaryArray.from_arrays(random.zipf(1.5, total) % len(CLASSES), CLASSES).cast(pa.string())
        columns = {
            "class_name": names,
            "x": pa.array(x, pa.float32()),
            "y": pa.array(y, pa.float32()),
            "w": pa.array(random.random(total) * 100 + 1, pa.float32()),
            "h": pa.array(random.random(total) * 70 + 1, pa.float32()),
            "rotation": pa.array(np.zeros(total), pa.float32()),
            "tags": pa.array([[]] * total, BOX_TYPE.field("tags").type),
            "crowd": pa.array(np.zeros(total, dtype=bool)),
            "difficult": pa.array(np.zeros(total, dtype=bool)),
        }
        filled = [columns.get(field.name, pa.nulls(total, field.type)) for field in BOX_TYPE]
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        structs = pa.StructArray.from_arrays(filled, fields=list(BOX_TYPE))
        digests = [hashlib.sha256(str(number).encode()).digest() for number in range(start, start + count)]
        rows = {
            "digest": pa.array(digests, pa.binary(32)),
            "extension": pa.array(["jpg"] * count),
            "width": pa.array([640] * count, pa.int32()),
            "height": pa.array([480] * count, pa.int32()),
            "orientation": pa.array([1] * count, pa.int8()),
            "channels": pa.array([3] * count, pa.int8()),
            "size_bytes": pa.array(random.integers(10_000, 90_000, count)),
            "names": pa.array([[f"images/{number}.jpg"] for number in range(start, start + count)]),
            "tags": pa.array([[]] * count, PICTURES_SCHEMA.field("tags").type),
            "split": pa.nulls(count, pa.string()),
            "derived_digest": pa.nulls(count, pa.binary(32)),
            "boxes": pa.ListArray.from_arrays(offsets, structs, lists),
            "predictions": pa.nulls(count, lists),
        }
        yield pa.table(rows).cast(PICTURES_SCHEMA)


class Bench:
    """Times jobs and prints a line for each: wall, CPU of all threads, memory so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limits = Limits(str(folder))
        self._jobs = 0

    def place(self) -> str:
        """Returns a new folder."""
        self._jobs += 1
        path = self.folder / f"job{self._jobs}"
        path.mkdir()
        return str(path)

    def time(self, name: str, work: Callable[[], Any], *, repeats: int = 3) -> Any:
        """Runs work some times and prints the best."""
        best, best_cpu, answer = float("inf"), float("inf"), None
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            answer = work()
            best = min(best, time.perf_counter() - start)
            best_cpu = min(best_cpu, time.process_time() - start_cpu)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{name:<34} {best * 1000:>10.1f} ms {best_cpu * 1000:>10.1f} ms CPU   peak {peak_mb} MB", flush=True)
        return answer


def source_of(outcome: Outcome, *known: Source) -> Source:
    """Returns an outcome as the source of the next job."""
    found = {segment.ref.digest: segment for source in known for segment in source.segments}
    fresh = tuple(Located(part.ref, part.path) for part in outcome.written)
    return Source((*fresh, *(found[ref.digest] for ref in outcome.shared)))


def run(bench: Bench, *, pictures: int, boxes: int) -> None:
    """Runs all jobs."""
    exchange = str(bench.folder / "exchange.parquet")
    write_picture_batches(Path(exchange), batches(pictures, boxes), kind="exchange")
    limits = bench.limits
    inspect = InspectJob(exchange, (), str(bench.folder / "digests"), limits)
    bench.time("inspect an exchange form", lambda: inspect_exchange(inspect), repeats=1)
    arrival = bench.time(
        "arrive (segments of an import)",
        lambda: arrive(ArriveJob(exchange, (), RIDS, 1, 1, "made", "import", bench.place(), limits)),
        repeats=1,
    )
    whole = source_of(arrival.version)
    size_mb = sum(part.ref.size_bytes for part in arrival.version.written) / 1e6
    print(f"{'on disk':<34} {size_mb:>10.1f} MB", flush=True)
    rids = {"class3": (4,), "": tuple(RIDS.values())}
    condition = parse_condition("class = class3")
    bench.time("filter by class", lambda: filter_members(FilterJob(whole, condition, rids, bench.place(), limits)))
    parts = draw_parts(PartsJob(whole, (pictures * 6 // 10, pictures * 4 // 10), 1, bench.place(), limits))
    others = draw_parts(PartsJob(whole, (pictures * 6 // 10,), 2, bench.place(), limits))
    host, guest = source_of(parts[0], whole), source_of(others[0], whole)
    merge = MergeJob(host, guest, Conflict.NEWEST, "", limits)
    bench.time(
        "merge 60 % + 60 %",
        lambda: merge_members(MergeJob(merge.host, merge.guest, merge.conflict, bench.place(), limits)),
    )
    bench.time("exclude 60 %", lambda: exclude_members(ExcludeJob(whole, (host,), bench.place(), limits)))
    bench.time("sample 10,000", lambda: draw_parts(PartsJob(whole, (10_000,), 3, bench.place(), limits)))
    bench.time("split 80 : 20", lambda: draw_parts(
        PartsJob(whole, (pictures * 8 // 10, pictures * 2 // 10), 4, bench.place(), limits)))  # fmt: skip
    groups = tuple((rid,) for rid in RIDS.values())
    bench.time("class statistics", lambda: positives(PositivesJob(whole, groups)))
    aliased = tuple(tuple(RIDS.values())[start::5] for start in range(5))
    bench.time("class statistics with aliases", lambda: positives(PositivesJob(whole, aliased)))
    classes = {rid: name for name, rid in RIDS.items()}
    for depth in (0, pictures // 2, pictures - 100):
        job = PageJob(whole, classes, depth, 50, limits)
        bench.time(f"page of 50 behind {depth:,}", partial(read_page, job))
    job = PageJob(whole, classes, pictures // 3, 50, limits, condition, rids)
    bench.time("filtered page of 50", lambda: read_page(job))
    one = PageJob(whole, classes, pictures // 2, 1, limits)
    bench.time("one picture with its boxes", lambda: read_page(one))
    view = str(bench.folder / "view.parquet")
    bench.time(
        "view of everything", lambda: build_view(ViewJob(whole, classes, tuple(CLASSES), 1, view, limits)), repeats=1
    )


def main() -> int:
    """Runs the benchmark in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lode-bench-", dir=given.folder))
    try:
        run(Bench(folder), pictures=given.pictures, boxes=given.boxes)
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
