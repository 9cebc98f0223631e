"""Operations on a dataset of made pictures, timed as the pool runs them, beside their goals and beside peers.

python benchmarks/datasets.py [--pictures 1000000] [--boxes 7] [--fractions] [--folder F] [--json F]

A quick run: --pictures 20000. Goals are for a million pictures on two cores. Boxes stand on whole pixels, as Pascal VOC
has them; --fractions places them anywhere, which takes more room. Peers: DuckDB's own file, and Lance where pylance is
installed. Each answers the same question on the same rows, without writing a version.
"""

import argparse
import hashlib
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
    ShortlistJob,
    Source,
    ViewJob,
)
from lodeworks_controller.storage.segments.membership import (
    draw_parts,
    exclude_members,
    filter_members,
    merge_members,
    positives,
    shortlist_members,
)
from lodeworks_controller.storage.segments.page import read_page
from lodeworks_controller.storage.segments.view import build_view
from lodeworks_formats.segments import BOX_TYPE, PICTURES_SCHEMA, write_picture_batches
from lodeworks_formats.segments.hamming import near_pairs

CLASSES = [f"class{number}" for number in range(20)]
RIDS = {name: number + 1 for number, name in enumerate(CLASSES)}
BATCH = 16_384


def batches(pictures: int, boxes: int, *, fractions: bool = False) -> Iterator[Any]:
    """Yields made pictures in the exchange form."""
    random = np.random.default_rng(1)

    def place(values: Any) -> Any:
        """Returns values as they are, or on whole pixels."""
        return values if fractions else np.round(values)

    lists = PICTURES_SCHEMA.field("boxes").type
    for start in range(0, pictures, BATCH):
        count = min(BATCH, pictures - start)
        lengths = random.poisson(boxes, count)
        total = int(lengths.sum())
        x, y = random.random(total) * 500, random.random(total) * 400
        names = pa.DictionaryArray.from_arrays(random.zipf(1.5, total) % len(CLASSES), CLASSES).cast(pa.string())
        columns = {
            "class_name": names,
            "x": pa.array(place(x), pa.float32()),
            "y": pa.array(place(y), pa.float32()),
            "w": pa.array(place(random.random(total) * 100 + 1), pa.float32()),
            "h": pa.array(place(random.random(total) * 70 + 1), pa.float32()),
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


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``goal`` is for a million pictures; None = none was set."""

    name: str
    value: float
    unit: str
    goal: float | None = None


class Bench:
    """Times jobs and prints a line for each, with its goal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limits = Limits(str(folder))
        self.figures: list[Figure] = []
        self._jobs = 0

    def place(self) -> str:
        """Returns a new folder."""
        self._jobs += 1
        path = self.folder / f"job{self._jobs}"
        path.mkdir()
        return str(path)

    def time(self, name: str, work: Callable[[], Any], *, goal_ms: float | None = None, repeats: int = 5) -> Any:
        """Runs work some times and notes the best."""
        best, answer = float("inf"), None
        for _ in range(repeats):
            start = time.perf_counter()
            answer = work()
            best = min(best, time.perf_counter() - start)
        self.note(Figure(name, best * 1000, "ms", goal_ms))
        return answer

    def note(self, figure: Figure) -> None:
        """Prints a line and keeps it."""
        self.figures.append(figure)
        goal = "" if figure.goal is None else f"goal {figure.goal:>8,.0f}"
        verdict = "" if figure.goal is None else ("met" if figure.value <= figure.goal else "MISSED")
        print(f"{figure.name:<42} {figure.value:>10,.1f} {figure.unit:<3} {goal:<14} {verdict}", flush=True)


def source_of(outcome: Outcome, *known: Source) -> Source:
    """Returns an outcome as the source of the next job."""
    found = {segment.ref.digest: segment for source in known for segment in source.segments}
    fresh = tuple(Located(part.ref, part.path) for part in outcome.written)
    return Source((*fresh, *(found[ref.digest] for ref in outcome.shared)))


CONDITION = parse_condition("class = class3")
CHOSEN = {"class3": (4,), "": tuple(RIDS.values())}


def bring(bench: Bench, *, pictures: int, boxes: int, fractions: bool) -> Source:
    """Makes pictures and takes them in, as the last step of an import does."""
    exchange = str(bench.folder / "exchange.parquet")
    write_picture_batches(Path(exchange), batches(pictures, boxes, fractions=fractions), kind="exchange")
    inspect = InspectJob(exchange, (), str(bench.folder / "digests"), bench.limits)
    bench.time("inspect an exchange form", lambda: inspect_exchange(inspect), repeats=1)
    job = ArriveJob(exchange, (), RIDS, 1, 1, "made", "import", bench.place(), bench.limits)
    arrival = bench.time("arrive (segments of an import)", lambda: arrive(job), repeats=1)
    size_mb = sum(part.ref.size_bytes for part in arrival.version.written) / 1e6
    bench.note(Figure("on disk", size_mb, "MB", 120))
    return source_of(arrival.version)


def operate(bench: Bench, whole: Source, *, pictures: int) -> None:
    """Makes versions from versions."""
    limits = bench.limits
    bench.time(
        "filter by class",
        lambda: filter_members(FilterJob(whole, CONDITION, CHOSEN, bench.place(), limits)),
        goal_ms=150,
    )
    some = pictures * 6 // 10
    host, guest = (
        source_of(draw_parts(PartsJob(whole, (some,), seed, bench.place(), limits))[0], whole) for seed in (1, 2)
    )
    bench.time(
        "merge 60 % + 60 %",
        lambda: merge_members(MergeJob(host, guest, Conflict.NEWEST, bench.place(), limits)),
        goal_ms=300,
    )
    bench.time("exclude 60 %", lambda: exclude_members(ExcludeJob(whole, (host,), bench.place(), limits)))
    few = min(10_000, pictures // 10)
    bench.time("sample 10,000", lambda: draw_parts(PartsJob(whole, (few,), 3, bench.place(), limits)), goal_ms=50)
    shares = (pictures * 8 // 10, pictures * 2 // 10)
    bench.time("split 80 : 20", lambda: draw_parts(PartsJob(whole, shares, 4, bench.place(), limits)))


def ask(bench: Bench, whole: Source, *, pictures: int) -> None:
    """Asks for statistics, pages, single pictures and a view."""
    groups = tuple((rid,) for rid in RIDS.values())
    bench.time("class statistics", lambda: positives(PositivesJob(whole, groups)), goal_ms=200)
    aliased = tuple(tuple(RIDS.values())[start::5] for start in range(5))
    bench.time("class statistics with aliases", lambda: positives(PositivesJob(whole, aliased)), goal_ms=500)
    classes = {rid: name for name, rid in RIDS.items()}
    for depth in (0, pictures // 2, pictures - 100):
        job = PageJob(whole, classes, depth, 50)
        bench.time(f"page of 50 behind {depth:,}", partial(read_page, job), goal_ms=10)
    listed = str(bench.folder / "shortlist.parquet")
    filtered = PageJob(whole, classes, pictures // 3, 50, shortlist=listed)

    def first() -> None:
        shortlist_members(ShortlistJob(whole, CONDITION, CHOSEN, listed))
        read_page(filtered)

    bench.time("filtered page of 50, first", first, goal_ms=100)
    bench.time("filtered page of 50, after", lambda: read_page(filtered), goal_ms=10)
    bench.time("one picture with its boxes", lambda: read_page(PageJob(whole, classes, pictures // 2, 1)), goal_ms=5)
    view = ViewJob(whole, classes, tuple(CLASSES), 1, str(bench.folder / "view.parquet"), bench.limits)
    bench.time("view of everything", lambda: build_view(view), repeats=1)


def compare_hashes(bench: Bench, *, pictures: int) -> None:
    """Finds near-duplicates among perceptual hashes of which a part are near each other."""
    random = np.random.default_rng(5)
    hashes = random.integers(0, 2**63, pictures, dtype=np.uint64) * np.uint64(2) + random.integers(
        0, 2, pictures, dtype=np.uint64
    )
    near = pictures // 100
    hashes[:near] = hashes[near : 2 * near] ^ (np.uint64(1) << random.integers(0, 64, near, dtype=np.uint64))
    bench.time("near-duplicates within Hamming 3", lambda: near_pairs(hashes, distance=3), goal_ms=1_000, repeats=3)


def run(bench: Bench, *, pictures: int, boxes: int, fractions: bool, peers: bool) -> None:
    """Runs all jobs."""
    whole = bring(bench, pictures=pictures, boxes=boxes, fractions=fractions)
    operate(bench, whole, pictures=pictures)
    ask(bench, whole, pictures=pictures)
    compare_hashes(bench, pictures=pictures)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bench.note(Figure("peak memory of all of the above", peak_mb, "MB", 500))
    if peers:
        compare_duckdb(bench, whole)
        compare_lance(bench, whole)


def compare_duckdb(bench: Bench, whole: Source) -> None:
    """Asks DuckDB's own file the same; the file has the same rows in the same order."""
    path = bench.folder / "peer.duckdb"
    with duckdb.connect(str(path), config={"threads": 2}) as peer:
        for kind in ("members", "counts", "boxes", "assets"):
            files = [segment.path for segment in whole.of_kind(kind)]
            peer.execute(f"CREATE TABLE {kind} AS SELECT * FROM read_parquet({files})")
    bench.note(Figure("DuckDB's own file: on disk", path.stat().st_size / 1e6, "MB"))

    def asked(query: str) -> Callable[[], Any]:
        def answer() -> Any:
            with duckdb.connect(str(path), read_only=True, config={"threads": 2}) as peer:
                return peer.sql(query).to_arrow_table()

        return answer

    bench.time("DuckDB's own file: filter by class", asked(_FILTER))
    bench.time("DuckDB's own file: class statistics", asked(_STATISTICS))
    bench.time("DuckDB's own file: one picture's boxes", asked("SELECT * FROM boxes WHERE rec = 500"))


_FILTER = "SELECT aid, rec FROM members WHERE rec IN (SELECT rec FROM counts WHERE rid = 4) ORDER BY aid"
_STATISTICS = "SELECT rid, sum(n), count(*) FROM counts GROUP BY rid"


def compare_lance(bench: Bench, whole: Source) -> None:
    """Asks Lance the same, where it is installed."""
    if find_spec("lance") is None:
        print("Lance is not installed here: pip install pylance", flush=True)
        return
    lance = import_module("lance")
    tables = {}
    for kind in ("counts", "boxes"):
        parts = [pq.read_table(segment.path, partitioning=None) for segment in whole.of_kind(kind)]
        tables[kind] = lance.write_dataset(pa.concat_tables(parts), str(bench.folder / f"{kind}.lance"))
    size = sum(file.stat().st_size for kind in tables for file in (bench.folder / f"{kind}.lance").rglob("*.lance"))
    bench.note(Figure("Lance: counts and boxes on disk", size / 1e6, "MB"))
    bench.time("Lance: records with a class", lambda: tables["counts"].to_table(["rec"], filter="rid = 4"))
    tables["boxes"].create_scalar_index("rec", "BTREE")
    bench.time("Lance: one picture's boxes, indexed", lambda: tables["boxes"].to_table(filter="rec = 500"))


def main() -> int:
    """Runs the benchmark in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=7)
    parser.add_argument("--fractions", action="store_true")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lode-bench-", dir=given.folder))
    bench = Bench(folder)
    try:
        run(
            bench,
            pictures=given.pictures,
            boxes=given.boxes,
            fractions=given.fractions,
            peers=not given.without_peers,
        )
    finally:
        shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps([asdict(figure) for figure in bench.figures], indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
