"""Changes to training pictures: place, size, proportions, mirror images, light and colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GREY = 114
_MIN_SIDE_PX = 3.0
_MIN_VISIBLE = 0.3


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training picture may be changed; all zero and (1, 1) leaves it as it is.

    Attributes:
        scale: least and greatest zoom.
        aspect: greatest change of the proportions, as a part.
        flip_x: share of pictures mirrored left to right.
        flip_y: share of pictures mirrored upside down.
        gamma: greatest change of the brightness curve, as a part.
        gain: greatest change of each channel, as a part.
        mosaic: share of the pictures that are made of four.
    """

    scale: tuple[float, float] = (0.7, 1.5)
    aspect: float = 0.15
    flip_x: float = 0.5
    flip_y: float = 0.5
    gamma: float = 0.3
    gain: float = 0.1
    mosaic: float = 0.0


def augment(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    *,
    size: tuple[int, int],
    how: Augmentation,
    random: np.random.Generator,
    fit: tuple[int, int] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """Returns a changed picture [height, width, 3], its boxes, and which of the boxes are still to be seen in it.

    The boxes are corners in pixels, of the picture before and of the result after. At zoom 1 the picture just fits into
    `fit` (height, width), which is `size` unless given.
    """
    matrix = _placement(image.shape[0], image.shape[1], size=size, fit=fit or size, how=how, random=random)
    canvas = cv2.warpAffine(
        image,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_GREY, _GREY, _GREY),
    )
    canvas = cv2.LUT(canvas, _light(how, random))
    moved, visible = _move(boxes, matrix, size=size)
    return np.asarray(canvas, dtype=np.uint8), moved, visible


def _placement(
    height: int,
    width: int,
    *,
    size: tuple[int, int],
    fit: tuple[int, int],
    how: Augmentation,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Returns the 2×3 matrix from the picture to the canvas: letterbox, then zoom, proportions, mirrors and a shift."""
    zoom = min(fit[0] / height, fit[1] / width) * np.exp(random.uniform(np.log(how.scale[0]), np.log(how.scale[1])))
    stretch = np.exp(random.uniform(-0.5, 0.5) * np.log1p(how.aspect))
    scale_x, scale_y = zoom * stretch, zoom / stretch
    # A smaller picture lies anywhere in the canvas, a larger one shows any part of itself.
    share_x, share_y = (0.5, 0.5) if how.scale == (1.0, 1.0) else random.uniform(0, 1, 2)
    left = (size[1] - width * scale_x) * share_x
    top = (size[0] - height * scale_y) * share_y
    if random.random() < how.flip_x:
        scale_x, left = -scale_x, left + width * scale_x
    if random.random() < how.flip_y:
        scale_y, top = -scale_y, top + height * scale_y
    # warpAffine counts centres of pixels, boxes count their edges: half a pixel lies between.
    return np.array(
        [[scale_x, 0, left + 0.5 * scale_x - 0.5], [0, scale_y, top + 0.5 * scale_y - 0.5]], dtype=np.float64
    )


def _move(
    boxes: NDArray[np.float32], matrix: NDArray[np.float64], *, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    scale = matrix[[0, 1], [0, 1]]
    shift = matrix[:, 2] - 0.5 * scale + 0.5
    first, second = boxes[:, :2] * scale + shift, boxes[:, 2:] * scale + shift
    low, high = np.minimum(first, second), np.maximum(first, second)
    limit = np.array([size[1], size[0]], dtype=np.float64)
    low_in, high_in = np.clip(low, 0, limit), np.clip(high, 0, limit)
    sides = high_in - low_in
    share = sides.prod(1) / np.maximum((high - low).prod(1), 1e-6)
    visible = (share >= _MIN_VISIBLE) & (sides.min(1, initial=np.inf) >= _MIN_SIDE_PX)
    return np.concatenate((low_in, high_in), 1).astype(np.float32), visible


def _light(how: Augmentation, random: np.random.Generator) -> NDArray[np.uint8]:
    """Returns a table [256, 1, 3] of new values for each channel."""
    gamma = np.exp(random.uniform(-1, 1) * np.log1p(how.gamma))
    gains = 1 + random.uniform(-how.gain, how.gain, 3)
    curve = np.linspace(0, 1, 256)[:, None] ** gamma * gains * 255
    table: NDArray[np.uint8] = np.clip(np.rint(curve), 0, 255).astype(np.uint8)[:, None, :]
    return table
