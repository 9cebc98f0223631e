"""Operations on members: each reads versions and writes one members segment, sharing all the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lodeworks_formats.manifest import SegmentRef
from lodeworks_formats.segments import MEMBERS_SCHEMA, write_segment
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
from lodeworks_controller.storage.segments.conditions import Question
from lodeworks_controller.storage.segments.job_types import (
    ExcludeJob,
    FilterJob,
    MergeJob,
    Outcome,
    PartsJob,
    PositivesJob,
    SelectJob,
    ShortlistJob,
    Source,
)
from lodeworks_controller.storage.segments.reading import (
    Counts,
    Ids,
    IdSet,
    batches_of,
    bounds,
    ids_of,
    ids_or_none,
    read_members,
    unique,
)
from lodeworks_controller.storage.segments.statistics import positive_pictures, statistics_of
from lodeworks_controller.storage.segments.written import Writer

_NONE: Final = -1


def filter_members(job: FilterJob) -> Outcome:
    """Runs a FilterJob."""
    rows = read_members(job.source)
    question = Question(rows, source=job.source, rids=job.rids, beside=job.beside)
    kept = rows.filter(pa.array(question.holds(job.condition)))
    return outcome_of(kept, sources=(job.source,), folder=job.folder, counts=question.counts)


def shortlist_members(job: ShortlistJob) -> int:
    """Runs a ShortlistJob and returns how many members there are."""
    rows = read_members(job.source)
    question = Question(rows, source=job.source, rids=job.rids, beside=job.beside)
    kept = rows.filter(pa.array(question.holds(job.condition)))
    write_segment(Path(job.path), kept, schema=MEMBERS_SCHEMA)
    return int(kept.num_rows)


def merge_members(job: MergeJob) -> Outcome:
    """Runs a MergeJob; raises ConflictError MERGE_CONFLICT under ``stop``."""
    host, guest = read_members(job.host), read_members(job.guest)
    host_aids, guest_aids = ids_of(host.column("aid")), ids_of(guest.column("aid"))
    fresh = ~IdSet(host_aids).contains(guest_aids)
    # Where a picture of both stands on either side.
    on_guest = np.flatnonzero(~fresh)
    on_host = np.searchsorted(host_aids, guest_aids[on_guest])
    recs, theirs = ids_or_none(host.column("rec")).copy(), ids_or_none(guest.column("rec"))[on_guest]
    ours = recs[on_host]
    if job.conflict is Conflict.STOP:
        _refuse_conflicts(int(np.count_nonzero((ours != theirs) & (ours != _NONE) & (theirs != _NONE))))
    recs[on_host] = _chosen(ours, theirs, job.conflict)
    tags = _united_tags(host.column("tags"), guest.column("tags"), on_host, on_guest)
    mine = pa.table({"aid": host_aids, "rec": pa.array(recs, mask=recs == _NONE), "tags": tags})
    united = pa.concat_tables([mine.cast(MEMBERS_SCHEMA), guest.filter(pa.array(fresh)).cast(MEMBERS_SCHEMA)])
    order = np.argsort(ids_of(united.column("aid")), kind="stable")
    return outcome_of(united.take(pa.array(order)), sources=(job.host, job.guest), folder=job.folder)


def _chosen(ours: Ids, theirs: Ids, conflict: Conflict) -> Ids:
    """Returns whose record stays; a missing one (-1) never wins, and the newest is the highest."""
    if conflict is Conflict.HOST:
        return np.where(ours == _NONE, theirs, ours)
    if conflict is Conflict.GUEST:
        return np.where(theirs == _NONE, ours, theirs)
    return np.maximum(ours, theirs)


def _united_tags(host: Any, guest: Any, on_host: Ids, on_guest: Ids) -> Any:
    """Returns the host's tags, with the guest's added to pictures of both."""
    ours, theirs = host.combine_chunks(), guest.combine_chunks()
    shared = theirs.take(pa.array(on_guest))
    if not len(shared.flatten()):
        return ours
    rows = ours.to_pylist()
    for place, more in zip(on_host.tolist(), shared.to_pylist(), strict=True):
        if more and more != rows[place]:
            rows[place] = sorted({*rows[place], *more})
    return pa.array(rows, MEMBERS_SCHEMA.field("tags").type)


def _refuse_conflicts(count: int) -> None:
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
        keep &= ~IdSet(theirs).contains(aids)
    return outcome_of(rows.filter(pa.array(keep)), sources=(job.host,), folder=job.folder)


def draw_parts(job: PartsJob) -> tuple[Outcome, ...]:
    """Runs a PartsJob: the same seed on the same members draws the same parts, on every machine."""
    rows = read_members(job.source)
    order = shuffle(ids_of(rows.column("aid")), seed=job.seed, first=sum(job.sizes))
    ends = np.cumsum(job.sizes)
    places = [np.sort(order[end - size : end]) for size, end in zip(job.sizes, ends.tolist(), strict=True)]
    return parts_of(rows, places, job.source, job.folder)


def parts_of(rows: Any, places: Sequence[Ids], source: Source, folder: str) -> tuple[Outcome, ...]:
    """Writes the members at places, each part as a version of its own."""
    outcomes = []
    for number, part in enumerate(places):
        own = Path(folder) / str(number)
        own.mkdir()
        outcomes.append(outcome_of(rows.take(pa.array(part)), sources=(source,), folder=str(own)))
    return tuple(outcomes)


def select_members(job: SelectJob) -> Outcome:
    """Runs a SelectJob; digests that are no members are left out."""
    rows = read_members(job.source)
    wanted = pa.array(sorted(set(job.digests)), pa.binary(32))
    aids = ids_of(rows.column("aid"))
    found = [
        ids_of(batch.column("aid").filter(pc.is_in(batch.column("digest"), value_set=wanted)))
        for batch in batches_of(unique((job.source,), ASSETS), IdSet(aids), columns=["aid", "digest"])
    ]
    chosen = IdSet(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
    return outcome_of(rows.filter(pa.array(chosen.contains(aids))), sources=(job.source,), folder=job.folder)


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


def outcome_of(rows: Any, *, sources: Sequence[Source], folder: str, counts: Counts | None = None) -> Outcome:
    """Writes members and returns them as a version that shares all the rest with its parents."""
    written = Writer(Path(folder)).write(MEMBERS, rows)
    return Outcome((written,), _shared(rows, sources), statistics_of(rows, sources=sources, counts=counts))


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
