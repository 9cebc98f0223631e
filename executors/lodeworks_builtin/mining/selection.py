"""Choosing a set of vectors, where what is chosen depends on what was chosen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEIGHBOURS = 20
_CLUSTERS = 500
_ROUNDS = 30


def farthest_first(vectors: NDArray[np.float32], count: int, *, first: int | None = None) -> list[int]:
    """Returns the places of `count` vectors [n, D], each the farthest from all before it (greedy k-centre).

    It begins with `first`, or with the vector nearest to the mean. Sener and Savarese, "Active Learning for
    Convolutional Neural Networks: A Core-Set Approach" (ICLR 2018).
    """
    if not len(vectors) or count < 1:
        return []
    if first is None:
        first = int(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).argmin())
    chosen = [first]
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)
    while len(chosen) < min(count, len(vectors)):
        last = chosen[-1]
        distance = lengths + lengths[last] - 2 * (vectors @ vectors[last])
        np.minimum(nearest, distance, out=nearest)
        nearest[chosen] = -np.inf
        chosen.append(int(nearest.argmax()))
    return chosen


def typical(vectors: NDArray[np.float32], count: int, *, seed: int) -> list[int]:
    """Returns the places of `count` vectors [n, D]: the most typical of each cluster, the largest cluster first.

    Typical is what is near to its neighbours. Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite
    Strategies Suit High and Low Budgets" (ICML 2022).
    """
    count = min(count, len(vectors))
    if count < 1:
        return []
    labels = _clusters(vectors, min(count, _CLUSTERS), seed=seed)
    members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    queues = [_by_typicality(vectors, rows) for rows in sorted(members, key=len, reverse=True) if len(rows)]
    chosen: list[int] = []
    depth = 0
    while len(chosen) < count:
        chosen += [queue[depth] for queue in queues if depth < len(queue)]
        depth += 1
    return chosen[:count]


def _clusters(vectors: NDArray[np.float32], count: int, *, seed: int) -> NDArray[np.int32]:
    if count == 1:
        return np.zeros(len(vectors), dtype=np.int32)
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, _ROUNDS, 1e-4)
    _, labels, _ = cv2.kmeans(np.ascontiguousarray(vectors), count, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    found: NDArray[np.int32] = labels.ravel()
    return found


def _by_typicality(vectors: NDArray[np.float32], rows: NDArray[np.intp]) -> list[int]:
    """Returns the rows by rising mean distance to their nearest neighbours within the cluster."""
    if len(rows) == 1:
        return [int(rows[0])]
    inside = vectors[rows]
    neighbours = min(_NEIGHBOURS, len(rows) - 1)
    mean = np.empty(len(rows), dtype=np.float32)
    for begin in range(0, len(rows), 1024):
        part = inside[begin : begin + 1024]
        squares = np.square(part).sum(axis=1)[:, None] + np.square(inside).sum(axis=1)[None] - 2 * part @ inside.T
        nearest = np.partition(np.maximum(squares, 0), neighbours, axis=1)[:, : neighbours + 1]
        mean[begin : begin + 1024] = np.sqrt(nearest).sum(axis=1) / neighbours
    return [int(row) for row in rows[np.argsort(mean, kind="stable")]]
