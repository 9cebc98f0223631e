"""Fits a picture into the network's input without changing its proportions, and boxes back out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


FITS = ("centre", "top-left", "stretch")


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one picture lies in the network's input.

    A point (x, y) of the picture lies at (x · scale_x + pad_x, y · scale_y + pad_y). Unless the picture is
    stretched, both scales differ from `scale` by the rounding of the resized size to whole pixels only; boxes use the
    exact ones.
    """

    scale: float
    pad_x: int
    pad_y: int
    scale_x: float
    scale_y: float
    source_width: int
    source_height: int

    def to_input(self, xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Returns boxes [K, 4] of the picture as boxes of the input, both as corner pixels."""
        factor = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        shift = np.array([self.pad_x, self.pad_y] * 2, dtype=np.float32)
        return np.asarray(xyxy, dtype=np.float32) * factor + shift

    def to_picture(self, xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Returns boxes [K, 4] of the input as boxes of the picture, clipped to it, both as corner pixels."""
        factor = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        shift = np.array([self.pad_x, self.pad_y] * 2, dtype=np.float32)
        limit = np.array([self.source_width, self.source_height] * 2, dtype=np.float32)
        boxes = (np.asarray(xyxy, dtype=np.float32) - shift) / factor
        clipped: NDArray[np.float32] = np.clip(boxes, np.float32(0), limit)
        return clipped


def plan_letterbox(
    source: tuple[int, int], *, size: tuple[int, int], fit: str = "centre"
) -> tuple[Letterbox, tuple[int, int]]:
    """Returns the placement of a source (height, width) in a size (height, width), and the resized (height, width).

    `fit` is one of FITS: scaled to fit and padded on both sides (`centre`) or right and below (`top-left`), or
    stretched over the whole size (`stretch`).
    """
    height, width = source
    scale = min(size[0] / height, size[1] / width)
    new_h = min(size[0], max(1, round(height * scale)))
    new_w = min(size[1], max(1, round(width * scale)))
    if fit == "stretch":
        new_h, new_w = size
    placement = Letterbox(
        scale=scale,
        pad_x=(size[1] - new_w) // 2 if fit == "centre" else 0,
        pad_y=(size[0] - new_h) // 2 if fit == "centre" else 0,
        scale_x=new_w / width,
        scale_y=new_h / height,
        source_width=width,
        source_height=height,
    )
    return placement, (new_h, new_w)


def letterbox(
    image: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    pad: int = 114,
    fit: str = "centre",
    out: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Returns the picture [H, W, 3] fitted into size (height, width), on grey, and where it lies there.

    Shrinking averages areas, enlarging interpolates linearly. `out`, of the shape (height, width, 3), is written into
    when it is given, so that a loop need not allocate.
    """
    placement, (new_h, new_w) = plan_letterbox((image.shape[0], image.shape[1]), size=size, fit=fit)
    canvas = np.empty((size[0], size[1], 3), dtype=np.uint8) if out is None else out
    top, left = placement.pad_y, placement.pad_x
    bottom, right = top + new_h, left + new_w
    canvas[:top] = pad
    canvas[bottom:] = pad
    canvas[top:bottom, :left] = pad
    canvas[top:bottom, right:] = pad
    region = canvas[top:bottom, left:right]
    if (new_h, new_w) == image.shape[:2]:
        region[:] = image
        return canvas, placement
    shrinks = new_h < image.shape[0] or new_w < image.shape[1]
    resized = cv2.resize(
        image, (new_w, new_h), dst=region, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if not np.may_share_memory(resized, region):
        region[:] = resized
    return canvas, placement
