"""A picture to draw a chart on: lines, marks and text, drawn large and reduced, so that edges are smooth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green, blue."""
Place = tuple[float, float]
Align = Literal["left", "middle", "right"]

WHITE: Colour = (255, 255, 255)
_ZOOM = 2
_BITS = 4
_NO_WRAP = 1_000_000
_ALIGN = {"left": 0.0, "middle": 0.5, "right": 1.0}


class Canvas:
    """A white picture; all places and sizes are in pixels of the finished one."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._image: NDArray[np.uint8] = np.full((height * _ZOOM, width * _ZOOM, 3), 255, np.uint8)
        self._font = cv2.FontFace("sans")

    def line(self, points: Sequence[Place], colour: Colour, *, width: float = 1.0) -> None:
        """Draws a line through points."""
        thick = max(1, round(width * _ZOOM))
        cv2.polylines(self._image, [_fixed(points)], False, colour[::-1], thick, cv2.LINE_AA, _BITS)

    def area(self, points: Sequence[Place], colour: Colour) -> None:
        """Fills a polygon."""
        cv2.fillPoly(self._image, [_fixed(points)], colour[::-1], cv2.LINE_AA, _BITS)

    def dot(self, place: Place, colour: Colour, *, radius: float = 4.0) -> None:
        """Draws a disc with a white rim."""
        (middle,) = _fixed([place])
        at = int(middle[0]), int(middle[1])
        for reach, filling in ((radius + 1.5, WHITE), (radius, colour)):
            cv2.circle(self._image, at, round(reach * _ZOOM * (1 << _BITS)), filling[::-1], -1, cv2.LINE_AA, _BITS)

    def bar(self, bottom: Place, top: Place, colour: Colour, *, cap: float = 4.0) -> None:
        """Draws an error bar, upright or lying, with a cap at each end."""
        self.line([bottom, top], colour, width=1.5)
        upright = bottom[0] == top[0]
        for x, y in (bottom, top):
            ends = [(x - cap, y), (x + cap, y)] if upright else [(x, y - cap), (x, y + cap)]
            self.line(ends, colour, width=1.5)

    def text(
        self, place: Place, words: str, colour: Colour, *, size: int = 14, weight: int = 400, align: Align = "left"
    ) -> None:
        """Writes a line of text; the place is on its base line."""
        shift = _ALIGN[align] * self._width(words, size=size, weight=weight)
        at = round(place[0] * _ZOOM - shift), round(place[1] * _ZOOM)
        cv2.putText(self._image, words, at, colour[::-1], self._font, size * _ZOOM, weight)

    def _width(self, words: str, *, size: int, weight: int) -> float:
        scratch = np.zeros((1, 1, 3), np.uint8)
        (end, _), _ = cv2.putText(scratch, words, (0, 0), (0, 0, 0), self._font, size * _ZOOM, weight, 0, (0, _NO_WRAP))
        return float(end)

    def save(self, path: Path) -> None:
        """Writes a PNG."""
        small = cv2.resize(self._image, self._size, interpolation=cv2.INTER_AREA)
        if not cv2.imwrite(str(path), small, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise OSError(f"cannot write {path}")


def _fixed(points: Sequence[Place]) -> NDArray[np.int32]:
    return np.asarray(np.round(np.array(points) * _ZOOM * (1 << _BITS)), np.int32)
