"""Figures of a set of members, from the counts beside the records: batch by batch, without the boxes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import ASSETS, COUNTS, ClassCount, Statistics
from lodeworks_controller.storage.segments.job_types import Located, Source

Ids = NDArray[np.int64]
_TABLE_ROOM = 64 * 1024 * 1024


class IdSet:
    """A set of ids that answers for many at once."""

    def __init__(self, ids: Ids) -> None:
        self.low = int(ids.min()) if len(ids) else 0
        self.high = int(ids.max()) if len(ids) else -1
        self._flags: NDArray[np.bool_] | None = None
        if self.high - self.low < _TABLE_ROOM:
            self._flags = np.zeros(max(0, self.high - self.low + 1), dtype=np.bool_)
            self._flags[ids - self.low] = True
            self._sorted = ids[:0]
        else:
            self._sorted = np.sort(ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Says for each id whether it is in the set."""
        if self.high < self.low:
            return np.zeros(len(ids), dtype=np.bool_)
        if self._flags is None:
            places = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
            return np.asarray(self._sorted[places] == ids)
        inside = (ids >= self.low) & (ids <= self.high)
        inside[inside] = self._flags[ids[inside] - self.low]
        return inside


def ids_of(column: Any) -> Ids:
    """Returns an int64 column without its nulls."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)


def statistics_of(members: Any, *, sources: Sequence[Source]) -> Statistics:
    """Returns the figures of members (aid, rec) whose assets and counts lie in the sources."""
    aids, recs = ids_of(members.column("aid")), ids_of(members.column("rec"))
    boxes: dict[int, int] = defaultdict(int)
    pictures: dict[int, int] = defaultdict(int)
    for rid, n, rows in _counts(IdSet(recs), _unique(sources, COUNTS)):
        boxes[rid] += n
        pictures[rid] += rows
    return Statistics(
        pictures=len(aids),
        annotated=len(recs),
        boxes=sum(boxes.values()),
        picture_bytes=_bytes(IdSet(aids), _unique(sources, ASSETS)),
        raw={rid: ClassCount(boxes[rid], pictures[rid]) for rid in sorted(boxes)},
    )


def positive_pictures(members: Any, *, sources: Sequence[Source], groups: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns for each group of raw classes on how many pictures at least one of them is."""
    recs = IdSet(ids_of(members.column("rec")))
    wanted = [IdSet(np.array(group, dtype=np.int64)) for group in groups]
    found = [0] * len(groups)
    last = [-1] * len(groups)
    for batch in _batches(_unique(sources, COUNTS), columns=["rec", "rid"], within=recs):
        rec, rid = ids_of(batch.column(0)), ids_of(batch.column(1))
        inside = recs.contains(rec)
        rec, rid = rec[inside], rid[inside]
        for place, group in enumerate(wanted):
            # Counts lie sorted by record: each run of one record is one picture, also across batches.
            hits = rec[group.contains(rid)]
            if len(hits):
                found[place] += int(np.count_nonzero(np.diff(hits, prepend=last[place])))
                last[place] = int(hits[-1])
    return tuple(found)


def _counts(recs: IdSet, segments: Iterable[Located]) -> Iterable[tuple[int, int, int]]:
    for batch in _batches(segments, columns=["rec", "rid", "n"], within=recs):
        inside = recs.contains(ids_of(batch.column(0)))
        if not inside.any():
            continue
        rid = ids_of(batch.column(1))[inside]
        n = np.asarray(batch.column(2).to_numpy(zero_copy_only=False), dtype=np.int64)[inside]
        known, places = np.unique(rid, return_inverse=True)
        sums = np.bincount(places, weights=n).astype(np.int64)
        rows = np.bincount(places)
        yield from zip(known.tolist(), sums.tolist(), rows.tolist(), strict=True)


def _bytes(aids: IdSet, segments: Iterable[Located]) -> int:
    total = 0
    for batch in _batches(segments, columns=["aid", "size_bytes"], within=aids):
        sizes = ids_of(batch.column(1))
        total += int(sizes[aids.contains(ids_of(batch.column(0)))].sum())
    return total


def _batches(segments: Iterable[Located], *, columns: list[str], within: IdSet) -> Iterable[Any]:
    for segment in segments:
        if segment.ref.first_id > within.high or segment.ref.last_id < within.low:
            continue
        with pq.ParquetFile(segment.path) as file:
            yield from file.iter_batches(batch_size=131_072, columns=columns, use_threads=False)


def _unique(sources: Sequence[Source], kind: str) -> tuple[Located, ...]:
    return tuple({segment.ref.digest: segment for source in sources for segment in source.of_kind(kind)}.values())


def bounds(ids: Any) -> tuple[int, int] | None:
    """Returns the lowest and the highest id of a column, or None when it holds none."""
    found = pc.min_max(ids).as_py()
    return None if found["min"] is None else (found["min"], found["max"])
