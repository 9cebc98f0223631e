"""Which input size suits a set of pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_GRID = 32
_LONGEST = (320, 416, 512, 640)
_SMALLEST_OBJECT_PX = 8.0
_MOST_UNEQUAL = 2.0


def choose_input_size(
    shapes: Sequence[tuple[int, int]], boxes: Sequence[NDArray[np.float32]], *, start: int = _LONGEST[0]
) -> tuple[int, int]:
    """Returns (height, width), multiples of 32, for pictures of these (height, width) with boxes [K, 4].

    The proportions are those of the pictures (their median; a square where they differ much). The longer side is 320,
    or more where a tenth of the objects would be under 8 pixels, up to 640, and not more than the pictures have.
    """
    ratios = np.log([height / width for height, width in shapes])
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    # Portrait and landscape mixed: in a square neither loses more than the other.
    ratio = 1.0 if high - low > math.log(_MOST_UNEQUAL) else float(np.exp(middle))
    ratio = min(_MOST_UNEQUAL, max(1 / _MOST_UNEQUAL, ratio))
    available = _to_grid(float(np.median([max(shape) for shape in shapes])), up=True)
    smallest = _small_object_share(shapes, boxes)
    fitting = (side for side in _LONGEST if side >= start and smallest * side >= _SMALLEST_OBJECT_PX)
    longest = next(fitting, max(start, _LONGEST[-1]))
    longest = max(_GRID * 2, min(longest, available))
    shorter = _to_grid(longest * min(ratio, 1 / ratio), up=False)
    return (longest, shorter) if ratio > 1 else (shorter, longest)


def _small_object_share(shapes: Sequence[tuple[int, int]], boxes: Sequence[NDArray[np.float32]]) -> float:
    """Returns the side of a small object as a part of the picture's longer side."""
    sides = [
        np.sqrt(np.prod(part[:, 2:] - part[:, :2], axis=1)) / max(shape)
        for shape, part in zip(shapes, boxes, strict=True)
        if len(part)
    ]
    return float(np.quantile(np.concatenate(sides), 0.1)) if sides else 1.0


def _to_grid(side: float, *, up: bool) -> int:
    return max(_GRID, (math.ceil(side / _GRID) if up else round(side / _GRID)) * _GRID)
