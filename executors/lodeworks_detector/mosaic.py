"""Training pictures made of four: more surroundings for each object, and objects cut off at more places."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_detector.augment import Augmentation, augment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PARTS = 4
_CROSS = (0.3, 0.7)
_SMALLER = 0.7


def mosaic(
    pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    *,
    size: tuple[int, int],
    how: Augmentation,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Returns four pictures in one of a size (height, width), the boxes of each, and which of them are to be seen.

    The parts meet in a point near the middle. Each shows any part of its picture, changed as `how` says, a little
    smaller than alone: objects keep their usual sizes. Boxes are corners in pixels, before and after.
    """
    height, width = size
    cross_y, cross_x = (round(side * random.uniform(*_CROSS)) for side in size)
    smaller = replace(how, scale=(how.scale[0] * _SMALLER, how.scale[1] * _SMALLER))
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    boxes, visible = [], []
    for place, (image, corners) in enumerate(pictures):
        rows = slice(0, cross_y) if place < PARTS // 2 else slice(cross_y, height)
        columns = slice(0, cross_x) if place % 2 == 0 else slice(cross_x, width)
        part = (rows.stop - rows.start, columns.stop - columns.start)
        canvas[rows, columns], moved, seen = augment(image, corners, size=part, how=smaller, random=random, fit=size)
        boxes.append(moved + np.array([columns.start, rows.start] * 2, dtype=np.float32))
        visible.append(seen)
    return canvas, boxes, visible
