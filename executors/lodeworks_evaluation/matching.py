"""Who matched whom: the greedy matching of the COCO protocol, for all pictures and ten IoUs at once.

A prediction takes the ground truth of its class with the highest IoU that no better scored prediction took. So leaving
out predictions below a confidence changes no match above it, and one matching answers every confidence.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lodeworks_evaluation.columns import BoxColumns, Columns

UNMATCHED = -1
IGNORED = -2
COCO_IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100
_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Matching:
    """Links between predictions and ground truth.

    `prediction_match` [ious, predictions] is the row of the ground truth taken, UNMATCHED, or IGNORED (it fell on a
    crowd, or stands beyond the 100 best of its class in its picture); `truth_match` [ious, truths] is the row of the
    prediction, UNMATCHED, or IGNORED (a crowd). `same_*` and `other_*` [predictions] name the ground truth (crowds
    apart) of highest IoU of the same class and of another class, taken or not: row or UNMATCHED, and IoU.
    """

    prediction_match: NDArray[np.int64]
    truth_match: NDArray[np.int64]
    same_row: NDArray[np.int64]
    same_iou: NDArray[np.float64]
    other_row: NDArray[np.int64]
    other_iou: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Overlapping boxes: rows of predictions and truths, and their IoU (for a crowd: over the prediction's area)."""

    prediction: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> _Pairs:
        return _Pairs(self.prediction[chosen], self.truth[chosen], self.iou[chosen])


def match(columns: Columns, *, max_detections: int = MAX_DETECTIONS) -> Matching:
    """Matches predictions with ground truth at the ten IoUs of COCO, to the same links as pycocotools."""
    truths, predictions = columns.truths, columns.predictions
    pairs = _overlapping(predictions, truths)
    same = predictions.class_index[pairs.prediction] == truths.class_index[pairs.truth]
    rank = _rank_in_group(predictions)
    considered = rank < max_detections
    candidates = pairs.where(same & considered[pairs.prediction])
    prediction_match, truth_match = _greedy(candidates, rank, truths.crowd, predictions=len(predictions))
    prediction_match[:, ~considered] = IGNORED
    solid = ~truths.crowd[pairs.truth]
    same_row, same_iou = _best(pairs.where(same & solid), len(predictions))
    other_row, other_iou = _best(pairs.where(~same & solid), len(predictions))
    return Matching(prediction_match, truth_match, same_row, same_iou, other_row, other_iou)


def box_iou(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Returns the IoU of boxes [n, 4] with boxes [n, 4] row by row, in the order of operations of pycocotools."""
    w = np.minimum(predicted[:, 0] + predicted[:, 2], truth[:, 0] + truth[:, 2]) - np.maximum(
        predicted[:, 0], truth[:, 0]
    )
    h = np.minimum(predicted[:, 1] + predicted[:, 3], truth[:, 1] + truth[:, 3]) - np.maximum(
        predicted[:, 1], truth[:, 1]
    )
    overlap = np.where((w > 0) & (h > 0), w * h, 0.0)
    area = predicted[:, 2] * predicted[:, 3]
    union = np.where(crowd, area, area + truth[:, 2] * truth[:, 3] - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _overlapping(predictions: BoxColumns, truths: BoxColumns) -> _Pairs:
    """Returns every pair of one picture that overlaps, whatever the classes."""
    found = [_Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    starts = np.searchsorted(truths.picture, predictions.picture, side="left")
    counts = np.searchsorted(truths.picture, predictions.picture, side="right") - starts
    for first, last in _blocks(counts):
        count = counts[first:last]
        prediction = np.repeat(np.arange(first, last), count)
        offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        truth = np.repeat(starts[first:last], count) + offset
        iou = box_iou(predictions.xywh[prediction], truths.xywh[truth], truths.crowd[truth])
        found.append(_Pairs(prediction, truth, iou).where(iou > 0))
    return _Pairs(
        np.concatenate([part.prediction for part in found]),
        np.concatenate([part.truth for part in found]),
        np.concatenate([part.iou for part in found]),
    )


def _blocks(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cuts the predictions so that memory stays flat however many pairs there are."""
    if not len(counts):
        return
    block = (np.cumsum(counts) - counts) // _PAIRS_AT_ONCE
    edges = np.flatnonzero(np.diff(block)) + 1
    bounds = [0, *edges.tolist(), len(counts)]
    yield from itertools.pairwise(bounds)


def _rank_in_group(predictions: BoxColumns) -> NDArray[np.int64]:
    """Returns the place of each prediction among those of its class in its picture, 0 = highest score."""
    count = len(predictions)
    if not count:
        return np.zeros(0, np.int64)
    new = np.ones(count, np.bool_)
    new[1:] = (np.diff(predictions.picture) != 0) | (np.diff(predictions.class_index) != 0)
    starts = np.flatnonzero(new)
    return np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))


def _greedy(
    pairs: _Pairs, rank: NDArray[np.int64], crowd: NDArray[np.bool_], *, predictions: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Plays the rounds of the greedy matching: all predictions of one rank belong to different groups."""
    thresholds = np.minimum(COCO_IOUS, 1 - 1e-10)
    prediction_match = np.full((len(thresholds), predictions), UNMATCHED, np.int64)
    truth_match = np.full((len(thresholds), len(crowd)), UNMATCHED, np.int64)
    truth_match[:, crowd] = IGNORED
    pairs = pairs.where(pairs.iou >= thresholds[0])
    # The winner of a prediction is the last pair that may still be had: objects before crowds, then the higher IoU,
    # then the later object, as pycocotools decides ties.
    order = np.lexsort((pairs.truth, pairs.iou, ~crowd[pairs.truth], pairs.prediction, rank[pairs.prediction]))
    pairs = pairs.where(order)
    rounds = np.flatnonzero(np.diff(rank[pairs.prediction], prepend=-1, append=-1))
    levels = np.arange(len(thresholds))[:, None]
    for first, last in itertools.pairwise(rounds):
        prediction, truth = pairs.prediction[first:last], pairs.truth[first:last]
        free = (pairs.iou[first:last] >= thresholds[:, None]) & (truth_match[:, truth] < 0)
        starts = np.flatnonzero(np.diff(prediction, prepend=-1))
        winner = np.maximum.reduceat(np.where(free, np.arange(last - first), -1), starts, axis=1)
        owner = prediction[starts]
        won = winner >= 0
        chosen = truth[winner]
        on_crowd = crowd[chosen]
        prediction_match[:, owner] = np.where(won, np.where(on_crowd, IGNORED, chosen), UNMATCHED)
        level, column = np.nonzero(won & ~on_crowd)
        truth_match[levels[level, 0], chosen[level, column]] = owner[column]
    return prediction_match, truth_match


def _best(pairs: _Pairs, predictions: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns, for each prediction, the ground truth of highest IoU (row or UNMATCHED) and that IoU."""
    row = np.full(predictions, UNMATCHED, np.int64)
    iou = np.zeros(predictions)
    order = np.lexsort((-pairs.truth, pairs.iou))
    row[pairs.prediction[order]] = pairs.truth[order]
    iou[pairs.prediction[order]] = pairs.iou[order]
    return row, iou
