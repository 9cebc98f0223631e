"""Figures of a set of members, from the counts beside the records: segment by segment, without the boxes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lodeworks_controller.domain.manifest import ASSETS, ClassCount, Statistics
from lodeworks_controller.storage.segments.job_types import Source
from lodeworks_controller.storage.segments.reading import Counts, Ids, IdSet, batches_of, ids_of, unique

_RID_ROOM = 1_000_000
_FEW = 1_000
"""So few pictures lie in few row groups; of more, whole columns are read."""


def statistics_of(members: Any, *, sources: Sequence[Source], counts: Counts | None = None) -> Statistics:
    """Returns the figures of members (aid, rec) whose assets and counts lie in the sources."""
    aids, recs = ids_of(members.column("aid")), ids_of(members.column("rec"))
    boxes: dict[int, int] = defaultdict(int)
    pictures: dict[int, int] = defaultdict(int)
    for _, rid, n in (counts or Counts(sources, once=True)).batches(IdSet(recs)):
        for number, total, rows in _tally(rid, n):
            boxes[number] += total
            pictures[number] += rows
    return Statistics(
        pictures=len(aids),
        annotated=len(recs),
        boxes=sum(boxes.values()),
        picture_bytes=_bytes(IdSet(aids), sources),
        raw={rid: ClassCount(boxes[rid], pictures[rid]) for rid in sorted(boxes)},
    )


def positive_pictures(members: Any, *, sources: Sequence[Source], groups: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns for each group of raw classes on how many pictures at least one of them is."""
    wanted = [np.array(sorted(set(group)), dtype=np.int64) for group in groups]
    found = [0] * len(groups)
    for rec, rid, _ in Counts(sources, once=True).batches(IdSet(ids_of(members.column("rec")))):
        alone = {number: rows for number, _, rows in _tally(rid, np.ones(len(rid), dtype=np.int64))}
        for place, group in enumerate(wanted):
            if len(group) == 1:  # a record has one row per raw class
                found[place] += alone.get(int(group[0]), 0)
            elif alone.keys() <= set(group.tolist()):
                found[place] += _runs(rec)
            else:
                found[place] += _runs(rec[IdSet(group).contains(rid)])
    return tuple(found)


def _runs(recs: Ids) -> int:
    """Returns how many different ones there are in a sorted column."""
    return int(np.count_nonzero(recs[1:] != recs[:-1])) + 1 if len(recs) else 0


def _tally(rid: Ids, n: Ids) -> list[tuple[int, int, int]]:
    """Returns (rid, sum of n, rows) for each raw class that occurs."""
    if not len(rid):
        return []
    low, high = int(rid.min()), int(rid.max())
    if high - low < _RID_ROOM:
        rows = np.bincount(rid - low)
        sums = np.bincount(rid - low, weights=n)
        numbers = np.flatnonzero(rows)
        rows, sums, numbers = rows[numbers], sums[numbers], numbers + low
    else:
        numbers, places = np.unique(rid, return_inverse=True)
        rows, sums = np.bincount(places), np.bincount(places, weights=n)
    return list(zip(numbers.tolist(), sums.astype(np.int64).tolist(), rows.tolist(), strict=True))


def _bytes(aids: IdSet, sources: Sequence[Source]) -> int:
    columns = ["aid", "size_bytes"]
    if len(aids) < _FEW:
        return sum(
            int(ids_of(batch.column(1)).sum()) for batch in batches_of(unique(sources, ASSETS), aids, columns=columns)
        )
    total = 0
    for segment in unique(sources, ASSETS):
        if aids.meets(segment.ref.first_id, segment.ref.last_id):
            rows = pq.read_table(segment.path, columns=columns, partitioning=None)
            total += int(ids_of(rows.column(1))[aids.pick(ids_of(rows.column(0)))].sum())
    return total
