"""Operations on a dataset of made pictures, as the pool runs them."""

from functools import partial
from pathlib import Path

import numpy as np
from dataset_rows.figures import Bench
from dataset_rows.made import CLASSES, RIDS, batches
from lodeworks_controller.domain.expression import parse_condition
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.storage.segments.arrival import arrive
from lodeworks_controller.storage.segments.inspection import inspect_exchange
from lodeworks_controller.storage.segments.job_types import (
    ArriveJob,
    ExcludeJob,
    FilterJob,
    InspectJob,
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
from lodeworks_formats.segments import write_picture_batches
from lodeworks_formats.segments.hamming import near_pairs


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
    bench.note("on disk", size_mb, "MB", most=120)
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
