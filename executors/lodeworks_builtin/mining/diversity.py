"""Diversity: pictures come first that stand for many others, or that are unlike all others."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_builtin.mining.descriptor import vectors
from lodeworks_builtin.mining.selection import farthest_first, typical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lodeworks_formats.pictures import Picture
    from numpy.typing import NDArray

    from lodeworks_builtin.mining.base import Look, ModelNeed

SAMPLE = 50_000
"""So many vectors are held in memory; of more pictures a drawn part is considered."""


class DiversityStrategy:
    """Looks at all pictures, then chooses a set; works without a model too."""

    model: ModelNeed = "optional"

    def __init__(self, name: str, choose: Callable[[NDArray[np.float32], int, int], Sequence[int]]) -> None:
        self.name = name
        self._choose = choose

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields the pictures considered, the chosen ones from 1 downwards in their order, all others with 0."""
        digests, rows, total = _sampled(vectors(pictures, look=look), seed=look.seed)
        if total > len(digests):
            print(f"considered {len(digests):,} drawn pictures of {total:,}", file=sys.stderr)  # noqa: T201
        chosen = self._choose(rows, look.budget or len(digests), look.seed) if digests else []
        yield from ranked(digests, chosen)


def kcenter(rows: NDArray[np.float32], count: int, _seed: int) -> Sequence[int]:
    """Chooses by greedy k-centre."""
    return farthest_first(rows, count)


def typiclust(rows: NDArray[np.float32], count: int, seed: int) -> Sequence[int]:
    """Chooses the typical pictures of clusters."""
    return typical(rows, count, seed=seed)


def ranked(digests: Sequence[str], chosen: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Yields (digest, score): the chosen ones from 1 downwards in their order, all others 0."""
    scores = {place: 1 - rank / (len(chosen) + 1) for rank, place in enumerate(chosen)}
    for place, digest in enumerate(digests):
        yield digest, scores.get(place, 0.0)


def _sampled(
    found: Iterator[tuple[str, NDArray[np.float32]]], *, seed: int
) -> tuple[list[str], NDArray[np.float32], int]:
    """Returns at most SAMPLE of what was found, each with the same chance, and how many were found."""
    chance = random.Random(seed)  # noqa: S311 - a draw, no secret
    digests: list[str] = []
    rows: list[NDArray[np.float32]] = []
    total = 0
    for digest, row in found:
        total += 1
        if total <= SAMPLE:
            digests.append(digest)
            rows.append(row)
            continue
        place = chance.randrange(total)
        if place < SAMPLE:
            digests[place], rows[place] = digest, row
    return digests, np.array(rows, dtype=np.float32), total
