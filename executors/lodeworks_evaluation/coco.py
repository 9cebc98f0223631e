"""The COCO protocol: AP and AR equal to pycocotools. The only module that knows which engine computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hotcoco
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lodeworks_evaluation.columns import BoxColumns, Columns

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_BEST_1, _BEST_10, _BEST_100 = range(3)
_IOU_50, _IOU_75 = 0, 5


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class fares; a number is None where the class has no ground truth."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    truths: int
    predictions: int


@dataclass(frozen=True, slots=True)
class CocoScores:
    """The twelve numbers of COCO and those of each class; None where nothing could be measured.

    `ap` is the mean over IoU 0.50:0.95, `ap_small` and so on are by ground truth area (32² and 96² pixels), `ar_1`
    allows one prediction per class and picture.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar_1: float | None
    ar_10: float | None
    ar_100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_class: dict[str, ClassScores]


def coco_scores(columns: Columns) -> CocoScores:
    """Returns the numbers of the COCO protocol (101-point interpolation, at most 100 predictions per class)."""
    precision, recall = _curves(columns)
    every, best = (slice(None), slice(None)), (_ALL, _BEST_100)
    return CocoScores(
        ap=_mean(precision[(*every, slice(None), *best)]),
        ap50=_mean(precision[(_IOU_50, slice(None), slice(None), *best)]),
        ap75=_mean(precision[(_IOU_75, slice(None), slice(None), *best)]),
        ap_small=_mean(precision[(*every, slice(None), _SMALL, _BEST_100)]),
        ap_medium=_mean(precision[(*every, slice(None), _MEDIUM, _BEST_100)]),
        ap_large=_mean(precision[(*every, slice(None), _LARGE, _BEST_100)]),
        ar_1=_mean(recall[(*every, _ALL, _BEST_1)]),
        ar_10=_mean(recall[(*every, _ALL, _BEST_10)]),
        ar_100=_mean(recall[(*every, _ALL, _BEST_100)]),
        ar_small=_mean(recall[(*every, _SMALL, _BEST_100)]),
        ar_medium=_mean(recall[(*every, _MEDIUM, _BEST_100)]),
        ar_large=_mean(recall[(*every, _LARGE, _BEST_100)]),
        per_class={
            name: ClassScores(
                ap=_mean(precision[:, :, index, _ALL, _BEST_100]),
                ap50=_mean(precision[_IOU_50, :, index, _ALL, _BEST_100]),
                ap75=_mean(precision[_IOU_75, :, index, _ALL, _BEST_100]),
                ar=_mean(recall[:, index, _ALL, _BEST_100]),
                truths=int(np.count_nonzero((columns.truths.class_index == index) & ~columns.truths.crowd)),
                predictions=int(np.count_nonzero(columns.predictions.class_index == index)),
            )
            for index, name in enumerate(columns.class_names)
        },
    )


def _curves(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns precision [iou, recall, class, area, best] and recall [iou, class, area, best]; −1 = not measured."""
    classes = len(columns.class_names)
    if not len(columns.truths):
        return np.full((10, 101, classes, 4, 3), -1.0), np.full((10, classes, 4, 3), -1.0)
    truths = _coco(columns, columns.truths)
    if len(columns.predictions):
        found = truths.load_res(_results(columns.predictions))
    else:
        found = _coco(columns, columns.predictions)
    run = hotcoco.COCOeval(truths, found, "bbox")
    run.evaluate()
    run.accumulate()
    answer = run.eval
    assert answer is not None
    return np.asarray(answer["precision"]), np.asarray(answer["recall"])


def _coco(columns: Columns, boxes: BoxColumns) -> Any:
    return hotcoco.COCO.from_arrays(
        [{"id": index + 1} for index in range(len(columns.digests))],
        [{"id": index + 1, "name": name} for index, name in enumerate(columns.class_names)],
        boxes.picture + 1,
        boxes.class_index + 1,
        boxes.xywh,
        ids=np.arange(1, len(boxes) + 1),
        area=boxes.xywh[:, 2] * boxes.xywh[:, 3],
        iscrowd=boxes.crowd.astype(np.int64),
    )


def _results(boxes: BoxColumns) -> NDArray[np.float64]:
    """Returns predictions as the engine reads them: picture, x, y, w, h, score, class."""
    return np.column_stack([boxes.picture + 1.0, boxes.xywh, boxes.score, boxes.class_index + 1.0])


def _mean(values: NDArray[np.float64]) -> float | None:
    """Returns the mean of what was measured (classes without ground truth stand as −1), or None."""
    measured = values[values > -1]
    return float(np.mean(measured)) if measured.size else None
