"""Conditions on pictures, answered for all members of a version at once."""

import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodeworks_controller.domain.expression import (
    All,
    Annotated,
    AnyOf,
    Compare,
    Condition,
    HasClass,
    HasTag,
    Not,
)
from lodeworks_controller.domain.manifest import ASSETS
from lodeworks_controller.domain.outcome import HasPrediction
from lodeworks_controller.storage.segments.job_types import Beside, Source
from lodeworks_controller.storage.segments.outcomes import pictures_with
from lodeworks_controller.storage.segments.reading import Counts, Ids, IdSet, ids_of, ids_or_none, rows_of

Flags = NDArray[np.bool_]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


class Question:
    """The members that conditions are asked of, and what must be read to answer.

    Args:
        members: Arrow table (aid, rec, tags), sorted by aid.
        source: The version's segments.
        rids: Class name as the condition spells it → raw classes that mean it; "" → all classes of the project.
        beside: The prediction set that conditions on predictions ask about.
    """

    def __init__(
        self,
        members: Any,
        *,
        source: Source,
        rids: Mapping[str, tuple[int, ...]],
        beside: Beside | None = None,
    ) -> None:
        self._members = members
        self._source = source
        self._rids = rids
        self._beside = beside
        self.counts = Counts((source,))

    def holds(self, condition: Condition) -> Flags:  # noqa: PLR0911 (one per shape)
        """Says for each member whether the condition holds; nothing is unknown, so NOT is exactly the rest."""
        match condition:
            case HasClass(name=name):
                return self.with_boxes(self._rids[name])
            case HasTag(tag=tag):
                return self._tagged(tag)
            case Annotated():
                return self._recs >= 0
            case Compare():
                return self._compare(condition)
            case HasPrediction():
                return self._predicted(condition)
            case Not(part=part):
                return ~self.holds(part)
            case All(parts=parts):
                return np.asarray(np.logical_and.reduce([self._all, *map(self.holds, parts)]))
            case AnyOf(parts=parts):
                return np.asarray(np.logical_or.reduce([~self._all, *map(self.holds, parts)]))

    @cached_property
    def _recs(self) -> Ids:
        return ids_or_none(self._members.column("rec"))

    @cached_property
    def _annotated(self) -> IdSet:
        return IdSet(self._recs[self._recs >= 0])

    @property
    def _all(self) -> Flags:
        return np.ones(self._members.num_rows, dtype=np.bool_)

    @cached_property
    def _assets(self) -> Any:
        aids = ids_of(self._members.column("aid"))
        found = rows_of((self._source,), ASSETS, aids, columns=["aid", "width", "height", "size_bytes"])
        if not np.array_equal(ids_of(found.column("aid")), aids):
            raise RuntimeError(f"{len(aids)} members point to {found.num_rows} assets: a segment is missing or damaged")
        return found

    def _tagged(self, tag: str) -> Flags:
        tags = self._members.column("tags").combine_chunks()
        found = ~self._all
        if len(tags.flatten()):
            places = pc.list_parent_indices(tags).filter(pc.equal(tags.flatten(), tag))
            found[places.to_numpy()] = True
        return found

    def with_boxes(self, rids: tuple[int, ...]) -> Flags:
        """Says for each member whether it has a box of one of the raw classes."""
        wanted = IdSet(np.array(sorted(set(rids)), dtype=np.int64))
        hits = [rec[wanted.contains(rid)] for rec, rid, _ in self.counts.batches(self._annotated)]
        return IdSet(np.concatenate([np.zeros(0, dtype=np.int64), *hits])).contains(self._recs)

    def _boxes(self, rids: tuple[int, ...]) -> Ids:
        """Returns for each member how many boxes of the raw classes it has."""
        wanted = IdSet(np.array(sorted(set(rids)), dtype=np.int64))
        recs: list[Ids] = [np.zeros(0, dtype=np.int64)]
        sums: list[Ids] = [np.zeros(0, dtype=np.int64)]
        for rec, rid, n in self.counts.batches(self._annotated):
            chosen = wanted.contains(rid)
            hits, boxes = rec[chosen], n[chosen]
            if len(hits):
                starts = np.flatnonzero(np.concatenate([[True], hits[1:] != hits[:-1]]))
                recs.append(hits[starts])
                sums.append(np.add.reduceat(boxes.astype(np.int64), starts))
        known, counted = np.concatenate(recs), np.concatenate(sums)
        if not len(known):
            return np.zeros(len(self._recs), dtype=np.int64)
        places = np.minimum(np.searchsorted(known, self._recs), len(known) - 1)
        return np.where(known[places] == self._recs, counted[places], 0)

    def _predicted(self, condition: HasPrediction) -> Flags:
        if self._beside is None:
            raise RuntimeError("a condition asks about predictions, and no prediction set is named")
        rids = None
        if condition.classes:
            rids = IdSet(
                np.array(sorted({rid for name in condition.classes for rid in self._rids[name]}), dtype=np.int64)
            )
        return pictures_with(self._members, condition, source=self._source, beside=self._beside, rids=rids)

    def _compare(self, condition: Compare) -> Flags:
        if condition.measure == "boxes":
            measured: Any = self._boxes(self._rids[condition.class_name or ""])
        else:
            measured = self._measure(condition.measure)
        return np.asarray(_COMPARISONS[condition.operator](measured, condition.number), dtype=np.bool_)

    def _measure(self, name: str) -> Any:
        assets = self._assets
        if name == "size_bytes":
            return ids_of(assets.column("size_bytes"))
        width, height = (ids_of(assets.column(side)) for side in ("width", "height"))
        return {"width": width, "height": height, "megapixels": width * height / 1e6, "aspect": width / height}[name]
