"""Segments read by id with Arrow alone: what is asked many times a second does not wait for a database to open."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lodeworks_formats.segments import MEMBERS_SCHEMA
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import COUNTS, MEMBERS
from lodeworks_controller.storage.segments.job_types import Located, Source
from lodeworks_controller.storage.segments.session import SCHEMAS

Ids = NDArray[np.int64]
_TABLE_ROOM = 64 * 1024 * 1024
_HELD_ROWS = 6_000_000
_SPARSE = 64


class IdSet:
    """A set of ids that answers for many at once; ``ids`` are its members in order, each once."""

    def __init__(self, ids: Ids) -> None:
        self.ids = _ordered(ids)
        self.low = int(self.ids[0]) if len(ids) else 0
        self.high = int(self.ids[-1]) if len(ids) else -1
        self._flags: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Says for each id, in any order, whether it is in the set."""
        if self.high < self.low:
            return np.zeros(len(ids), dtype=np.bool_)
        if self.low == self.high:
            return np.asarray(ids == self.low)
        inside = (ids >= self.low) & (ids <= self.high)
        if self._dense:
            return np.asarray(inside)
        if inside.all():
            return self._within(ids)
        inside[inside] = self._within(ids[inside])
        return np.asarray(inside)

    def pick(self, ids: Ids) -> Any:
        """Returns an index of the sorted ids that are in the set: a slice where they are one run."""
        first, last = np.searchsorted(ids, [self.low, self.high + 1])
        if first >= last or self._dense:
            return slice(int(first), int(max(first, last)))
        found = self._within(ids[first:last])
        return slice(int(first), int(last)) if found.all() else np.flatnonzero(found) + first

    def meets(self, low: int, high: int) -> bool:
        """Says whether any id lies between the two."""
        place = int(np.searchsorted(self.ids, low))
        return place < len(self.ids) and int(self.ids[place]) <= high

    @property
    def _dense(self) -> bool:
        return self.high - self.low + 1 == len(self.ids)

    def _within(self, ids: Ids) -> NDArray[np.bool_]:
        span = self.high - self.low + 1
        if span > _TABLE_ROOM or span > max(1_000_000, len(self.ids) * _SPARSE):
            places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            return np.asarray(self.ids[places] == ids)
        if self._flags is None:
            self._flags = np.zeros(span, dtype=np.bool_)
            self._flags[self.ids - self.low] = True
        return np.asarray(self._flags[ids - self.low])


def _ordered(ids: Ids) -> Ids:
    if np.all(ids[1:] > ids[:-1]):
        return ids
    if np.all(ids[1:] >= ids[:-1]):
        return np.asarray(ids[np.concatenate([[True], ids[1:] != ids[:-1]])])
    return np.unique(ids)


def ids_of(column: Any) -> Ids:
    """Returns an int64 column without its nulls."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)


def ids_or_none(column: Any) -> Ids:
    """Returns an int64 column with -1 where it is null."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def unique(sources: Iterable[Source], kind: str) -> tuple[Located, ...]:
    """Returns the segments of one kind, each once, in the order of their ids."""
    found = {segment.ref.digest: segment for source in sources for segment in source.of_kind(kind)}
    return tuple(sorted(found.values(), key=lambda segment: (segment.ref.first_id, segment.ref.digest)))


def read_members(source: Source, *, columns: Sequence[str] = ("aid", "rec", "tags")) -> Any:
    """Returns the members of a version."""
    parts = [
        pq.read_table(segment.path, columns=list(columns), partitioning=None) for segment in source.of_kind(MEMBERS)
    ]
    return pa.concat_tables(parts) if parts else MEMBERS_SCHEMA.empty_table().select(list(columns))


def batches_of(segments: Iterable[Located], wanted: IdSet, *, columns: Sequence[str]) -> Iterator[Any]:
    """Yields tables of the rows whose id (the first column) is wanted, row group by row group, in order."""
    for segment in segments:
        if not wanted.meets(segment.ref.first_id, segment.ref.last_id):
            continue
        with pq.ParquetFile(segment.path) as file:
            for place in range(file.num_row_groups):
                span = file.metadata.row_group(place).column(0).statistics
                if span is not None and span.has_min_max and not wanted.meets(span.min, span.max):
                    continue
                rows = file.read_row_group(place, columns=list(columns), use_threads=False)
                chosen = wanted.pick(ids_of(rows.column(0)))
                if isinstance(chosen, slice):
                    yield rows.slice(chosen.start, chosen.stop - chosen.start)
                elif len(chosen):
                    yield rows.take(pa.array(chosen))


def rows_of(sources: Iterable[Source], kind: str, ids: Ids, *, columns: Sequence[str] = ()) -> Any:
    """Returns the rows of these ids as one table, in order of ids where segments do not overlap."""
    named = list(columns or SCHEMAS[kind].names)
    parts = list(batches_of(unique(sources, kind), IdSet(ids), columns=named))
    return pa.concat_tables(parts).combine_chunks() if parts else SCHEMAS[kind].empty_table().select(named)


class Counts:
    """The counts beside the records: read once where they are few enough to keep, else anew for each question.

    Args:
        sources: Whose counts.
        once: Only one question will be asked, so that nothing is kept.
    """

    def __init__(self, sources: Sequence[Source], *, once: bool = False) -> None:
        self._segments = unique(sources, COUNTS)
        self._keep = not once and sum(segment.ref.rows for segment in self._segments) <= _HELD_ROWS
        self._held: dict[str, tuple[Ids, Ids, Ids]] = {}

    def batches(self, recs: IdSet) -> Iterator[tuple[Ids, Ids, Ids]]:
        """Yields (rec, rid, n) of the records, by record; a record never lies in two batches."""
        for segment in self._segments:
            if not recs.meets(segment.ref.first_id, segment.ref.last_id):
                continue
            rec, rid, n = self._read(segment)
            chosen = recs.pick(rec)
            yield rec[chosen], rid[chosen], n[chosen]

    def _read(self, segment: Located) -> tuple[Ids, Ids, Ids]:
        held = self._held.get(segment.ref.digest)
        if held is not None:
            return held
        rows = pq.read_table(segment.path, columns=["rec", "rid", "n"], partitioning=None)
        rec, rid, n = (rows.column(name).combine_chunks().to_numpy() for name in ("rec", "rid", "n"))
        if self._keep:
            self._held[segment.ref.digest] = (rec, rid, n)
        return rec, rid, n


def bounds(ids: Any) -> tuple[int, int] | None:
    """Returns the lowest and the highest id of a column, or None when it holds none."""
    found = pc.min_max(ids).as_py()
    return None if found["min"] is None else (found["min"], found["max"])
