"""Tags of pictures and boxes: a picture's tags are the member's, a box's are its record's, and records never change."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_formats.segments import BOXES_SCHEMA, MEMBERS_SCHEMA, raw_classes_of

from lodeworks_controller.domain.manifest import BOXES, COUNTS
from lodeworks_controller.storage.segments.arrival import counts_of
from lodeworks_controller.storage.segments.conditions import Flags, Question
from lodeworks_controller.storage.segments.curation_jobs import TagJob
from lodeworks_controller.storage.segments.job_types import Located, Outcome, Source, Written
from lodeworks_controller.storage.segments.membership import outcome_of
from lodeworks_controller.storage.segments.reading import (
    Ids,
    IdSet,
    batches_of,
    ids_of,
    ids_or_none,
    read_members,
    unique,
)
from lodeworks_controller.storage.segments.written import Writer

_ROWS_PER_SEGMENT = 1_000_000


def tag_members(job: TagJob) -> Outcome:
    """Runs a TagJob."""
    rows = read_members(job.source)
    question = Question(rows, source=job.source, rids=job.rids, beside=job.beside)
    chosen = np.ones(rows.num_rows, dtype=np.bool_) if job.condition is None else question.holds(job.condition)
    if job.box_rids is None:
        tags = _changed(rows.column("tags").combine_chunks(), chosen, add=job.add, remove=job.remove)
        rows = rows.set_column(rows.schema.get_field_index("tags"), MEMBERS_SCHEMA.field("tags"), tags)
        return outcome_of(rows, sources=(job.source,), folder=job.folder)
    chosen &= question.with_boxes(job.box_rids)
    return _tag_boxes(job, rows, chosen)


def _tag_boxes(job: TagJob, rows: Any, chosen: Flags) -> Outcome:
    recs = ids_or_none(rows.column("rec"))
    old = np.sort(recs[chosen])
    if not len(old):
        return outcome_of(rows, sources=(job.source,), folder=job.folder)
    assert job.box_rids is not None
    names: dict[int, str] = {}
    for segment in job.source.of_kind(BOXES):
        names |= raw_classes_of(Path(segment.path))
    writer = Writer(Path(job.folder), class_names=names)
    fresh = _retagged(job.source, old, first_rec=job.first_rec, job=job)
    boxes = writer.write_parts(BOXES, fresh, rows=_ROWS_PER_SEGMENT)
    counts = writer.write_parts(COUNTS, counts_of(boxes), rows=_ROWS_PER_SEGMENT)
    recs = recs.copy()
    recs[chosen] = job.first_rec + np.searchsorted(old, recs[chosen])
    rows = rows.set_column(rows.schema.get_field_index("rec"), "rec", pa.array(recs, mask=recs < 0))
    made = Source(tuple(Located(part.ref, part.path) for part in (*boxes, *counts)))
    found = outcome_of(rows, sources=(job.source, made), folder=job.folder)
    return _with(found, (*boxes, *counts))


def _with(found: Outcome, written: Sequence[Written]) -> Outcome:
    mine = {part.ref.digest for part in written}
    shared = tuple(ref for ref in found.shared if ref.digest not in mine)
    return Outcome((*found.written, *written), shared, found.statistics)


def _retagged(source: Source, old: Ids, *, first_rec: int, job: TagJob) -> Iterator[Any]:
    wanted = IdSet(np.array(sorted(set(job.box_rids or ())), dtype=np.int64))
    for batch in batches_of(unique((source,), BOXES), IdSet(old), columns=BOXES_SCHEMA.names):
        if not batch.num_rows:
            continue
        rows = pa.table(batch).combine_chunks()
        mine = wanted.contains(ids_of(rows.column("rid")))
        tags = _changed(rows.column("tags").combine_chunks(), mine, add=job.add, remove=job.remove)
        recs = first_rec + np.searchsorted(old, ids_of(rows.column("rec")))
        rows = rows.set_column(0, BOXES_SCHEMA.field("rec"), pa.array(recs))
        yield rows.set_column(rows.schema.get_field_index("tags"), BOXES_SCHEMA.field("tags"), tags)


def _changed(tags: Any, chosen: Flags, *, add: Sequence[str], remove: Sequence[str]) -> Any:
    """Returns lists of tags with some changed, each list in order."""
    kind = MEMBERS_SCHEMA.field("tags").type
    if not len(tags.flatten()):  # nobody has a tag: no list need be looked at
        lengths = np.where(chosen, len(add), 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        values = pa.array(list(add) * int(chosen.sum()), pa.string())
        return pa.ListArray.from_arrays(pa.array(offsets), values).cast(kind)
    rows, gone = tags.to_pylist(), set(remove)
    for place in np.flatnonzero(chosen).tolist():
        rows[place] = sorted({*rows[place], *add} - gone)
    return pa.array(rows, kind)
