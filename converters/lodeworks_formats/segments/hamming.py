"""Near-duplicates among perceptual hashes: pairs of 64-bit numbers that differ in few bits.

Of k + 1 bands of a hash, at least one is untouched by k changed bits: only hashes that agree in a band are compared.
Hashes cluster on flat pictures, so equal ones are one group from the start, and a band's value that very many hashes
share is compared only with its nearest neighbours.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_BITS: Final = 64
_BUCKET: Final = 256
_CHUNK: Final = 32_768  # hashes that are compared at once: they stay in the processor's cache
FARTHEST: Final = 7
"""The largest distance that is looked for: beyond, bands are too short to tell anything apart."""


def near_pairs(hashes: Hashes, *, distance: int) -> tuple[Places, Places]:
    """Returns pairs (first, second) of places whose hashes differ in at most so many bits.

    Equal hashes are paired in a chain, each with the next; so are those near an equal group, through its first.
    """
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    same = ranked[1:] == ranked[:-1]
    firsts, seconds = [order[:-1][same]], [order[1:][same]]
    heads = order[np.concatenate([[True], ~same])] if len(order) else order
    if distance:
        left, right = _near(hashes[heads], distance)
        firsts.append(heads[left])
        seconds.append(heads[right])
    return np.concatenate(firsts), np.concatenate(seconds)


def groups_of(count: int, firsts: Places, seconds: Places) -> Places:
    """Returns for each of so many places the lowest place that pairs lead to: equal numbers are one group."""
    parents = np.arange(count)
    while len(firsts):
        low, high = np.minimum(parents[firsts], parents[seconds]), np.maximum(parents[firsts], parents[seconds])
        apart = low != high
        if not apart.any():
            break
        firsts, seconds = firsts[apart], seconds[apart]
        np.minimum.at(parents, high[apart], low[apart])
        while not np.array_equal(parents, parents[parents]):
            parents = parents[parents]
    return parents


def _near(hashes: Hashes, distance: int) -> tuple[Places, Places]:
    firsts: list[Places] = [np.zeros(0, dtype=np.int64)]
    seconds: list[Places] = [np.zeros(0, dtype=np.int64)]
    edges = np.linspace(0, _BITS, distance + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band.astype(np.uint16 if high - low <= 16 else np.uint64), kind="stable")  # noqa: PLR2004
        sorted_band, sorted_hashes = band[order], hashes[order]
        for start in range(0, len(order), _CHUNK):
            left, right = _beside(sorted_band[start : start + _CHUNK + _BUCKET], sorted_hashes[start:], distance)
            firsts.append(order[start + left])
            seconds.append(order[start + right])
    return np.concatenate(firsts), np.concatenate(seconds)


def _beside(band: NDArray[Any], hashes: Hashes, distance: int) -> tuple[Places, Places]:
    """Returns pairs among the hashes of a stretch that agree in a band: the first of each lies in its first _CHUNK."""
    firsts: list[Places] = [np.zeros(0, dtype=np.int64)]
    seconds: list[Places] = [np.zeros(0, dtype=np.int64)]
    for step in range(1, _BUCKET):
        end = min(_CHUNK, len(band) - step)
        alike = band[step : end + step] == band[:end]
        if not alike.any():
            break
        near = np.bitwise_count(hashes[step : end + step] ^ hashes[:end]) <= distance
        found = np.flatnonzero(near & alike)
        firsts.append(found)
        seconds.append(found + step)
    return np.concatenate(firsts), np.concatenate(seconds)
