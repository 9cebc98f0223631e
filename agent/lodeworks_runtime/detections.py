"""What is left of a network's raw outputs after thresholds and suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.nms import suppress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lodeworks_runtime.recipe import Thresholds


@dataclass(frozen=True, slots=True)
class Detections:
    """The K boxes of one picture in falling order of score.

    `corners` [K, 4] in pixels, `scores` [K], `classes` [K] (place in the model's classes), `places` [K] (row of the raw
    outputs that each box came from, so that a caller can look up its other scores).
    """

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]
    places: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.scores)


def select(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    *,
    thresholds: Thresholds,
) -> Detections:
    """Returns the boxes of one picture: `scores` [A, C] and `boxes` [A, 4] of the input, corners still of the input.

    A place counts once for each class whose score reaches the threshold. Equal scores keep the network's order, so that
    the answer does not depend on how it was sorted.
    """
    flat = scores.reshape(-1)
    found = np.flatnonzero(flat >= np.float32(thresholds.score))
    if len(found) > thresholds.candidates:
        cut = np.partition(flat[found], len(found) - thresholds.candidates)[len(found) - thresholds.candidates]
        found = found[flat[found] >= cut]
    order = found[np.argsort(-flat[found], kind="stable")][: thresholds.candidates]
    places, classes = np.divmod(order, scores.shape[1])
    corners = boxes[places]
    kept = suppress(corners, classes, iou=thresholds.nms_iou, limit=thresholds.max_detections)
    return Detections(
        corners=corners[kept],
        scores=flat[order[kept]],
        classes=classes[kept],
        places=places[kept],
    )
