"""Pictures that look alike, by their perceptual hashes: within one version (dedup) and between several (leaks)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_formats.segments.hamming import Hashes, groups_of, near_pairs

from lodeworks_controller.domain.curation import Leak, LeakCount, Leaks
from lodeworks_controller.domain.manifest import ASSETS, PROVENANCE
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.segments.curation_jobs import DedupJob, LeaksJob, Thinned
from lodeworks_controller.storage.segments.job_types import Located, Source
from lodeworks_controller.storage.segments.membership import outcome_of
from lodeworks_controller.storage.segments.reading import Ids, IdSet, ids_of, ids_or_none, read_members, rows_of
from lodeworks_controller.storage.segments.signals import signals_of


def dedup_members(job: DedupJob) -> Thinned:
    """Runs a DedupJob: annotated pictures stay before others, then larger ones, then older ones."""
    rows = read_members(job.source)
    aids = ids_of(rows.column("aid"))
    hashes, hashed = _hashes(job.signals, aids)
    places = np.flatnonzero(hashed)
    groups = groups_of(len(places), *near_pairs(hashes[places], distance=job.distance))
    assets = rows_of((job.source,), ASSETS, aids, columns=["aid", "width", "height"])
    pixels = ids_of(assets.column("width")) * ids_of(assets.column("height"))
    annotated = ids_or_none(rows.column("rec")) >= 0
    order = np.lexsort((aids[places], -pixels[places], ~annotated[places], groups))
    ranked = groups[order]
    later = np.concatenate([[False], ranked[1:] == ranked[:-1]]) if len(ranked) else np.zeros(0, dtype=np.bool_)
    keep = np.ones(len(aids), dtype=np.bool_)
    keep[places[order[later]]] = False
    kept = rows.filter(pa.array(keep))
    return Thinned(outcome_of(kept, sources=(job.source,), folder=job.folder), int((~keep).sum()))


def alike_groups(signals: Sequence[Located], aids: Ids, *, distance: int) -> Ids:
    """Returns for each picture the lowest place of those that look like it; what cannot be decoded is alone.

    Raises ConflictError SIGNALS_MISSING.
    """
    hashes, hashed = _hashes(signals, aids)
    places = np.flatnonzero(hashed)
    groups = np.arange(len(aids))
    groups[places] = places[groups_of(len(places), *near_pairs(hashes[places], distance=distance))]
    return groups


def find_leaks(job: LeaksJob) -> Leaks:
    """Runs a LeaksJob."""
    parts = [ids_of(read_members(part, columns=["aid"]).column("aid")) for part in job.parts]
    alike = _Likeness(job.signals, parts, distance=job.distance)
    counts, shown = [], []
    for first in range(len(parts)):
        for second in range(first + 1, len(parts)):
            same = np.intersect1d(parts[first], parts[second], assume_unique=True)
            left, right = alike.between(first, second, without=same)
            counts.append(LeakCount(first, second, len(same), len(right)))
            pairs = [(aid, aid) for aid in same[: job.limit].tolist()]
            pairs += list(zip(left.tolist(), right.tolist(), strict=True))
            shown += [(first, second, *pair) for pair in pairs[: job.limit]]
    return Leaks(tuple(counts), tuple(_show(job.parts, shown[: job.limit], alike)))


class _Likeness:
    """Which pictures of several versions look alike; nothing does without a distance."""

    def __init__(self, signals: Sequence[Located], parts: Sequence[Ids], *, distance: int | None) -> None:
        self._parts = parts
        self._aids = np.unique(np.concatenate(parts)) if distance is not None else np.zeros(0, dtype=np.int64)
        hashes, hashed = _hashes(signals, self._aids)
        self._aids, self._hashes = self._aids[hashed], hashes[hashed]
        pairs = near_pairs(self._hashes, distance=distance or 0)
        self._groups = groups_of(len(self._aids), *pairs)

    def between(self, first: int, second: int, *, without: Ids) -> tuple[Ids, Ids]:
        """Returns pictures of the second that look like one of the first, and that one beside it."""
        ours, theirs = self._places(self._parts[first]), self._places(self._parts[second])
        theirs = theirs[~IdSet(without).contains(self._aids[theirs])]
        heads, firsts = np.unique(self._groups[ours], return_index=True)
        if not len(heads):
            return heads, heads
        at = np.minimum(np.searchsorted(heads, self._groups[theirs]), len(heads) - 1)
        hit = heads[at] == self._groups[theirs]
        return self._aids[ours[firsts[at[hit]]]], self._aids[theirs[hit]]

    def distance(self, left: int, right: int) -> int:
        """Returns how many bits differ between two measured pictures; 0 for one and the same."""
        if left == right:
            return 0
        places = np.searchsorted(self._aids, [left, right])
        return int(np.bitwise_count(self._hashes[places[0]] ^ self._hashes[places[1]]))

    def _places(self, aids: Ids) -> Ids:
        return np.flatnonzero(IdSet(aids).contains(self._aids))


def _hashes(signals: Sequence[Located], aids: Ids) -> tuple[Hashes, Any]:
    """Returns the hash of each picture and whether it has one; raises ConflictError SIGNALS_MISSING."""
    found = signals_of(signals, aids, columns=["phash"])
    held = ids_of(found.column("aid"))
    missing = len(aids) - len(held)
    if missing:
        message = f"{missing} pictures were not measured yet; run `lode dataset signals` on the dataset first"
        raise ConflictError("SIGNALS_MISSING", message, pictures=missing)
    column = found.column("phash").combine_chunks()
    hashed = ~column.is_null().to_numpy(zero_copy_only=False)
    return column.fill_null(0).to_numpy().astype(np.uint64), hashed


def _show(parts: Sequence[Source], pairs: Sequence[tuple[int, int, int, int]], alike: _Likeness) -> list[Leak]:
    aids = np.array(sorted({aid for pair in pairs for aid in pair[2:]}), dtype=np.int64)
    known = describe(parts, aids)
    return [
        Leak(
            first=first,
            second=second,
            first_digest=known[left][0],
            second_digest=known[right][0],
            first_name=(known[left][1] or ("",))[0],
            second_name=(known[right][1] or ("",))[0],
            distance=alike.distance(left, right),
        )
        for first, second, left, right in pairs
    ]


def describe(sources: Sequence[Source], aids: Ids) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Returns aid → (digest in hex, names in order) of a few pictures."""
    assets = rows_of(sources, ASSETS, aids, columns=["aid", "digest"])
    named = rows_of(sources, PROVENANCE, aids, columns=["aid", "name"])
    names: dict[int, set[str]] = {}
    for aid, name in zip(named.column("aid").to_pylist(), named.column("name").to_pylist(), strict=True):
        names.setdefault(aid, set()).add(name)
    rows = zip(assets.column("aid").to_pylist(), assets.column("digest").to_pylist(), strict=True)
    return {aid: (digest.hex(), tuple(sorted(names.get(aid, ())))) for aid, digest in rows}
