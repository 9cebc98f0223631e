"""The YMIR protocol, for those who compare with numbers of the past.

Predictions above the confidence (strictly), best scored first, take the ground truth they overlap most, and no other:
a second one on the same object is wrong. Overlap counts corners as pixels (the +1 convention) and must be above the
IoU (strictly). AP is the whole area under the falling envelope of the curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lodeworks_evaluation.columns import BoxColumns, Columns

DEFAULT_CONF = 0.005
DEFAULT_IOU = 0.5


@dataclass(frozen=True, slots=True)
class YmirClassScores:
    """AP, mean of the recall list, and counts of one class."""

    ap: float
    ar: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True, slots=True)
class YmirScores:
    """The mean over the classes asked for (those without ground truth count as 0) and each class."""

    iou: float
    conf: float
    ap: float
    ar: float
    per_class: dict[str, YmirClassScores]


def ymir_scores(columns: Columns, *, iou: float = DEFAULT_IOU, conf: float = DEFAULT_CONF) -> YmirScores:
    """Returns the numbers of the YMIR protocol."""
    each = {
        name: _class_scores(_of_class(columns.truths, index), _of_class(columns.predictions, index), iou=iou, conf=conf)
        for index, name in enumerate(columns.class_names)
    }
    count = max(1, len(each))
    return YmirScores(
        iou=iou,
        conf=conf,
        ap=sum(scores.ap for scores in each.values()) / count,
        ar=sum(scores.ar for scores in each.values()) / count,
        per_class=each,
    )


def _of_class(boxes: BoxColumns, index: int) -> BoxColumns:
    return boxes.take(np.flatnonzero(boxes.class_index == index))


def _class_scores(truths: BoxColumns, predictions: BoxColumns, *, iou: float, conf: float) -> YmirClassScores:
    kept = predictions.take(np.flatnonzero(predictions.score > conf))
    kept = kept.take(np.argsort(-kept.score, kind="stable"))
    if not len(kept) or not len(truths):
        return YmirClassScores(ap=0.0, ar=0.0, tp=0, fp=len(kept), fn=len(truths))
    starts = np.searchsorted(truths.picture, kept.picture, side="left")
    ends = np.searchsorted(truths.picture, kept.picture, side="right")
    taken = np.zeros(len(truths), np.bool_)
    hit = np.zeros(len(kept), np.bool_)
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if start == end:
            continue
        overlap = _inclusive_iou(kept.xywh[row], truths.xywh[start:end])
        best = int(np.argmax(overlap))
        if overlap[best] > iou and not taken[start + best]:
            hit[row] = taken[start + best] = True
    tp = np.cumsum(hit).astype(np.float64)
    recall = tp / len(truths)
    found = int(tp[-1])
    return YmirClassScores(
        ap=_area(recall, tp / np.arange(1.0, len(tp) + 1.0)),
        ar=float(np.mean(recall)),
        tp=found,
        fp=len(kept) - found,
        fn=len(truths) - found,
    )


def _inclusive_iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the IoU of one box [4] with others [n, 4], x + w and y + h taken as pixels that belong to a box."""
    w = np.minimum(box[0] + box[2], others[:, 0] + others[:, 2]) - np.maximum(box[0], others[:, 0]) + 1
    h = np.minimum(box[1] + box[3], others[:, 1] + others[:, 3]) - np.maximum(box[1], others[:, 1]) + 1
    overlap = np.maximum(w, 0.0) * np.maximum(h, 0.0)
    union = (box[2] + 1) * (box[3] + 1) + (others[:, 2] + 1) * (others[:, 3] + 1) - overlap
    return np.asarray(overlap / union)


def _area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Returns the area under the precision envelope, at every recall where it changes."""
    edges = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    steps = np.flatnonzero(np.diff(edges))
    return float(np.sum((edges[steps + 1] - edges[steps]) * envelope[steps + 1]))
