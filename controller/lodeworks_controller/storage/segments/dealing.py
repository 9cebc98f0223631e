"""Members dealt out to parts so that each class gets its share in every one, and what looks alike stays together."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.storage.segments.job_types import DealJob, Outcome, Source
from lodeworks_controller.storage.segments.likeness import alike_groups
from lodeworks_controller.storage.segments.membership import parts_of, shuffle
from lodeworks_controller.storage.segments.reading import Counts, Ids, IdSet, ids_of, ids_or_none, read_members

if TYPE_CHECKING:
    from numpy.typing import NDArray


def deal_parts(job: DealJob) -> tuple[Outcome, ...]:
    """Runs a DealJob; raises ConflictError SIGNALS_MISSING, InvalidError SPLIT_INVALID."""
    rows = read_members(job.source)
    aids = ids_of(rows.column("aid"))
    strata = np.zeros(len(aids), dtype=np.int64)
    if job.classes is not None:
        strata = strata_of(rows, source=job.source, classes=job.classes)
    groups = np.arange(len(aids))
    if job.distance is not None:
        groups = alike_groups(job.signals, aids, distance=job.distance)
    parts = deal(shuffle(aids, seed=job.seed), sizes=job.sizes, strata=strata, groups=groups)
    return parts_of(rows, [np.flatnonzero(parts == part) for part in range(len(job.sizes))], job.source, job.folder)


def strata_of(rows: Any, *, source: Source, classes: tuple[tuple[int, ...], ...]) -> Ids:
    """Returns for each member the place of its rarest class by rarity; then come empty and unlabelled ones."""
    recs = ids_or_none(rows.column("rec"))
    known = np.array(sorted(rid for rids in classes for rid in rids), dtype=np.int64)
    class_of = {rid: place for place, rids in enumerate(classes) for rid in rids}
    meant = np.array([class_of[rid] for rid in known.tolist()], dtype=np.int64)
    order = np.argsort(recs, kind="stable")
    pairs = [np.zeros(0, dtype=np.int64)]
    for rec, rid, _ in Counts((source,), once=True).batches(IdSet(recs[recs >= 0])):
        shown = IdSet(known).contains(rid)
        place = order[np.searchsorted(recs[order], rec[shown])]
        # A record lies in one batch; names that mean one class are one pair.
        pairs.append(_distinct(place * len(classes) + meant[np.searchsorted(known, rid[shown])]))
    found = np.concatenate(pairs)
    place, which = found // max(1, len(classes)), found % max(1, len(classes))
    rarity = np.empty(len(classes), dtype=np.int64)
    rarity[np.argsort(np.bincount(which, minlength=len(classes)), kind="stable")] = np.arange(len(classes))
    strata = np.where(recs >= 0, len(classes), len(classes) + 1)
    np.minimum.at(strata, place, rarity[which])
    return np.asarray(strata, dtype=np.int64)


def _distinct(numbers: Ids) -> Ids:
    """Returns each number once, in order."""
    ranked = np.sort(numbers)
    return np.asarray(ranked[np.concatenate([np.ones(len(ranked[:1]), dtype=np.bool_), ranked[1:] != ranked[:-1]])])


def deal(order: Ids, *, sizes: tuple[int, ...], strata: Ids, groups: Ids) -> Ids:
    """Returns the part of each member; those beyond the sizes get the number behind the last part.

    Args:
        order: Places of the members by chance, [n].
        sizes: Of the parts; at most n together.
        strata: Of each member; a group belongs to the lowest of its members', the rarest.
        groups: Members with equal numbers stay together; the number is the place of one of them.

    Raises:
        InvalidError: SPLIT_INVALID, where there are fewer groups than parts.
    """
    count = len(order)
    heads, weights = np.unique(groups, return_counts=True)
    wanted = sum(size > 0 for size in sizes)
    if len(heads) < wanted <= count:
        message = f"the pictures fall into {len(heads)} groups that look alike, too few for {wanted} parts"
        raise InvalidError("SPLIT_INVALID", f"{message}; allow a smaller distance", field="distance")
    rest = count - sum(sizes)
    room = np.array([*sizes, rest] if rest else sizes, dtype=np.int64)
    lowest = strata.copy()
    np.minimum.at(lowest, groups, strata)
    parts = np.full(count, -1, dtype=np.int64)
    chance = np.empty(count, dtype=np.int64)
    chance[order] = np.arange(count)
    many = heads[weights > 1]
    several = np.lexsort((chance[many], -weights[weights > 1]))
    _deal_groups(many[several], weights[weights > 1][several], lowest, parts, room)
    alone = heads[weights == 1]
    alone = alone[np.lexsort((chance[alone], lowest[alone]))]
    parts[alone] = _interleaved(_fitted(room - np.bincount(_dealt(parts, groups), minlength=len(room)), len(alone)))
    _fill_empty(parts, heads, weights, wanted=wanted)
    return np.asarray(parts[groups], dtype=np.int64)


def _dealt(parts: Ids, groups: Ids) -> Ids:
    """Returns the parts of the members whose groups were dealt out."""
    found: Ids = parts[groups]
    return np.asarray(found[found >= 0])


def _deal_groups(heads: Ids, weights: Ids, strata: Ids, parts: Ids, room: Ids) -> None:
    """Gives each group, the largest first, to the part that lacks most of its stratum, among those with room."""
    left, share = room.copy(), room / max(1, room.sum())
    lacking: dict[int, NDArray[np.float64]] = {}
    for stratum in np.unique(strata[heads]).tolist():
        lacking[stratum] = share * weights[strata[heads] == stratum].sum()
    for head, weight in zip(heads.tolist(), weights.tolist(), strict=True):
        lack = lacking[int(strata[head])]
        fits = left >= weight
        part = int(np.argmax(np.where(fits, lack, -np.inf) if fits.any() else left))
        parts[head] = part
        left[part] -= weight
        lack[part] -= weight


def _fitted(room: Ids, count: int) -> Ids:
    """Returns sizes as near to the room as their sum allows; groups may have taken more than a part's size."""
    room = np.maximum(room, 0)
    total = int(room.sum())
    if total == count:
        return room
    exact = room * (count / total) if total else np.full(len(room), count / len(room))
    sizes = np.floor(exact).astype(np.int64)
    short = np.argsort(sizes - exact, kind="stable")[: count - int(sizes.sum())]
    sizes[short] += 1
    return np.asarray(sizes, dtype=np.int64)


def _interleaved(sizes: Ids) -> Ids:
    """Returns a part for each of sum(sizes) in a row, so that every stretch of the row has each part's share."""
    parts = np.repeat(np.arange(len(sizes)), sizes)
    places = [(np.arange(size) + 0.5) / size for size in sizes.tolist() if size]
    return np.asarray(parts[np.argsort(np.concatenate([np.zeros(0), *places]), kind="stable")], dtype=np.int64)


def _fill_empty(parts: Ids, heads: Ids, weights: Ids, *, wanted: int) -> None:
    """Moves the smallest group of the part with most of them into each part that groups left empty."""
    for part in range(wanted):
        mine = np.bincount(parts[heads], minlength=wanted)
        if mine[part] or not len(heads):
            continue
        richest = np.flatnonzero(parts[heads] == int(np.argmax(mine)))
        parts[heads[richest[np.argmin(weights[richest])]]] = part
