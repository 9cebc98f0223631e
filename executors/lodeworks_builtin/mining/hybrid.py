"""Hybrid, the default: doubt about what the model knows badly, spread over pictures that differ.

After Yang et al., "Plug and Play Active Learning for Object Detection" (CVPR 2024): the doubt of each box counts more
the worse the model knows its class; of four times the pictures that are wanted, the most doubtful, greedy k-centre on
the embeddings chooses.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lodeworks_builtin.mining.base import required
from lodeworks_builtin.mining.descriptor import embedding_or_description
from lodeworks_builtin.mining.selection import farthest_first
from lodeworks_builtin.mining.uncertainty import entropy_bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

    from lodeworks_builtin.mining.base import Look, ModelNeed

_SCORE = 0.1
_POOL = 4
_LARGEST_POOL = 50_000
_LEAST_WEIGHT = 0.1
"""A class that the model knows perfectly is still worth a little."""


class _Doubt(NamedTuple):
    """A picture in the pool; compared by doubt, then digest."""

    doubt: float
    digest: str
    vector: NDArray[np.float32]


class HybridStrategy:
    """Weighs doubt by class, keeps the most doubtful pictures, spreads the choice among them."""

    name = "hybrid"
    model: ModelNeed = "required"

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields the chosen pictures, from 2 down to 1; without a budget the others with their doubt too."""
        threshold = _SCORE if look.score_threshold is None else look.score_threshold
        pool: list[_Doubt] = []
        size = _LARGEST_POOL if look.budget is None else min(_LARGEST_POOL, _POOL * look.budget)
        doubts: list[tuple[str, float]] = []

        def measure(algorithm: Algorithm | None, image: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
            network = required(algorithm, strategy=self.name)
            outputs, placement = network.raw(image)
            kept = network.pick(outputs, placement, score=threshold)
            rows = outputs.scores[0][np.unique(kept.places)].astype(np.float64)
            return weighted_doubt(rows, _weights(network.classes, look.class_ap)), embedding_or_description(
                outputs, image
            )

        for digest, (doubt, vector) in look.each(pictures, measure):
            if look.budget is None:
                doubts.append((digest, doubt))
            one = _Doubt(doubt, digest, vector)
            if len(pool) < size:
                heapq.heappush(pool, one)
            elif one[:2] > pool[0][:2]:
                heapq.heapreplace(pool, one)
        yield from self._ranked(doubts, pool, budget=look.budget)

    def _ranked(
        self, doubts: list[tuple[str, float]], pool: list[_Doubt], *, budget: int | None
    ) -> Iterator[tuple[str, float]]:
        pool.sort(key=lambda one: (-one.doubt, one.digest))
        rows = np.array([one.vector for one in pool], dtype=np.float32)
        count = len(pool) if budget is None else budget
        order = farthest_first(rows, count, first=0) if pool else []
        scores = {pool[place].digest: 2 - rank / (len(order) + 1) for rank, place in enumerate(order)}
        yield from scores.items()
        highest = max((doubt for _, doubt in doubts), default=0.0) or 1.0
        yield from ((digest, doubt / highest) for digest, doubt in doubts if digest not in scores)


def weighted_doubt(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Returns the sum over boxes [K, C] of their entropy in bits, each box by the weight [C] of its likeliest class."""
    if not len(scores):
        return 0.0
    return float((entropy_bits(scores).sum(axis=1) * weights[scores.argmax(axis=1)]).sum())


def _weights(classes: tuple[str, ...], class_ap: Mapping[str, float]) -> NDArray[np.float64]:
    return np.array([max(_LEAST_WEIGHT, 1 - class_ap.get(name, 0.0)) for name in classes])
