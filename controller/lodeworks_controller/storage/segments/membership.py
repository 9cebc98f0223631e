"""Operations on members: each reads versions and writes one members segment, sharing all the rest."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_formats.manifest import SegmentRef
from lodeworks_formats.segments import MEMBERS_SCHEMA
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import (
    ASSETS,
    BOXES,
    COUNTS,
    MEMBERS,
    PROVENANCE,
    SIGNALS,
    covering,
)
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.segments.conditions import compile_condition
from lodeworks_controller.storage.segments.job_types import (
    ExcludeJob,
    FilterJob,
    MergeJob,
    Outcome,
    PartsJob,
    PositivesJob,
    SelectJob,
    Source,
)
from lodeworks_controller.storage.segments.session import open_session, show, table
from lodeworks_controller.storage.segments.statistics import bounds, ids_of, positive_pictures, statistics_of
from lodeworks_controller.storage.segments.written import Writer


def filter_members(job: FilterJob) -> Outcome:
    """Runs a FilterJob."""
    clause = compile_condition(job.condition, rids=job.rids)
    with open_session(job.limits) as session:
        for kind in (MEMBERS, ASSETS, COUNTS):
            show(session, kind, job.source.of_kind(kind), kind=kind)
        rows = session.sql(clause.query("m.aid, m.rec, m.tags"), params=clause.parameters).to_arrow_table()
    return _outcome(rows, sources=(job.source,), folder=job.folder)


def merge_members(job: MergeJob) -> Outcome:
    """Runs a MergeJob; raises ConflictError MERGE_CONFLICT under ``stop``."""
    with open_session(job.limits) as session:
        show(session, "host", job.host.of_kind(MEMBERS), kind=MEMBERS)
        show(session, "guest", job.guest.of_kind(MEMBERS), kind=MEMBERS)
        if job.conflict is Conflict.STOP:
            _refuse_conflicts(session)
        chosen = {
            Conflict.HOST: "coalesce(h.rec, g.rec)",
            Conflict.GUEST: "coalesce(g.rec, h.rec)",
        }.get(job.conflict, "greatest(h.rec, g.rec)")  # records are numbered as they come: the newest is the highest
        rows = table(
            session,
            f"""SELECT coalesce(h.aid, g.aid) AS aid, {chosen} AS rec,
                       CASE WHEN h.tags IS NULL THEN g.tags
                            WHEN g.tags IS NULL OR h.tags = g.tags THEN h.tags
                            ELSE list_sort(list_distinct(list_concat(h.tags, g.tags))) END AS tags
                FROM host h FULL JOIN guest g ON h.aid = g.aid ORDER BY 1""",
        )
    return _outcome(rows, sources=(job.host, job.guest), folder=job.folder)


def _refuse_conflicts(session: Any) -> None:
    found = session.sql("SELECT count(*) FROM host h JOIN guest g ON h.aid = g.aid WHERE h.rec <> g.rec").fetchall()
    count = found[0][0]
    if count:
        message = f"{count} pictures are annotated on both sides; say which wins: newest, host or guest"
        raise ConflictError("MERGE_CONFLICT", message, pictures=count)


def exclude_members(job: ExcludeJob) -> Outcome:
    """Runs an ExcludeJob."""
    rows = read_members(job.host)
    aids = ids_of(rows.column("aid"))
    keep = np.ones(len(aids), dtype=np.bool_)
    for other in job.others:
        theirs = ids_of(read_members(other, columns=["aid"]).column("aid"))
        keep &= ~np.isin(aids, theirs, assume_unique=True)
    return _outcome(rows.filter(pa.array(keep)), sources=(job.host,), folder=job.folder)


def draw_parts(job: PartsJob) -> tuple[Outcome, ...]:
    """Runs a PartsJob: the same seed on the same members draws the same parts, on every machine."""
    rows = read_members(job.source)
    order = shuffle(ids_of(rows.column("aid")), seed=job.seed, first=sum(job.sizes))
    outcomes, start = [], 0
    for number, size in enumerate(job.sizes):
        part = np.sort(order[start : start + size])
        start += size
        folder = Path(job.folder) / str(number)
        folder.mkdir()
        outcomes.append(_outcome(rows.take(pa.array(part)), sources=(job.source,), folder=str(folder)))
    return tuple(outcomes)


def select_members(job: SelectJob) -> Outcome:
    """Runs a SelectJob; digests that are no members are left out."""
    with open_session(job.limits) as session:
        show(session, "members", job.source.of_kind(MEMBERS), kind=MEMBERS)
        show(session, "assets", job.source.of_kind(ASSETS), kind=ASSETS)
        session.register("wanted", pa.table({"digest": pa.array(sorted(set(job.digests)), pa.binary(32))}))
        rows = table(
            session,
            "SELECT m.aid, m.rec, m.tags FROM members m JOIN assets a ON a.aid = m.aid"
            " WHERE a.digest IN (SELECT digest FROM wanted) ORDER BY m.aid",
        )
    return _outcome(rows, sources=(job.source,), folder=job.folder)


def positives(job: PositivesJob) -> tuple[int, ...]:
    """Runs a PositivesJob."""
    return positive_pictures(read_members(job.source, columns=["rec"]), sources=(job.source,), groups=job.groups)


def shuffle(aids: NDArray[np.int64], *, seed: int, first: int | None = None) -> NDArray[np.int64]:
    """Returns the places of the aids in an order that depends on seed and aids alone (splitmix64).

    Only the first so many of that order, if that is said: those are found without sorting the rest.
    """
    mixed = aids.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for _ in range(2):  # a second round parts neighbouring seeds
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    if first is None or first >= len(mixed):
        return np.argsort(mixed, kind="stable")
    nearest = np.argpartition(mixed, first)[:first]  # the mixing is one to one: there are no ties to break
    return nearest[np.argsort(mixed[nearest], kind="stable")]


def read_members(source: Source, *, columns: Sequence[str] = ("aid", "rec", "tags")) -> Any:
    """Returns the members of a version."""
    parts = [
        pq.read_table(segment.path, columns=list(columns), partitioning=None) for segment in source.of_kind(MEMBERS)
    ]
    return pa.concat_tables(parts) if parts else MEMBERS_SCHEMA.empty_table().select(list(columns))


def _outcome(rows: Any, *, sources: Sequence[Source], folder: str) -> Outcome:
    written = Writer(Path(folder)).write(MEMBERS, rows)
    return Outcome((written,), _shared(rows, sources), statistics_of(rows, sources=sources))


def _shared(rows: Any, sources: Sequence[Source]) -> tuple[SegmentRef, ...]:
    """Returns the segments of the parents in which ids of the new members can lie."""
    refs = tuple(ref for source in sources for ref in source.refs)
    shared: list[SegmentRef] = []
    for column, kinds in (("aid", (ASSETS, PROVENANCE, SIGNALS)), ("rec", (BOXES, COUNTS))):
        range_ = bounds(rows.column(column))
        for kind in kinds if range_ else ():
            assert range_ is not None
            shared.extend(covering((ref for ref in refs if ref.kind == kind), low=range_[0], high=range_[1]))
    return tuple(dict.fromkeys(shared))
