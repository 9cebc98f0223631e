"""Boxes and the frame of their picture: clipping, rounding to whole pixels, EXIF orientation."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.outlines import turn_mask

LEAST_SIDE_PX = 1e-3
"""A side below this is none: its square would vanish in the float32 of the segments."""

_CHANGES = ("BOX_CLIPPED", "SHAPE_DROPPED")
_TOLERATED_PX = 1.0 + 1e-6
_LARGEST_TURNED = 4
_SWAPS_SIDES = range(5, 9)
_FLIPS_X, _FLIPS_Y = (2, 3, 7, 8), (3, 4, 6, 7)


@dataclass(frozen=True, slots=True)
class BoxProblem:
    """Why a box was left out or changed.

    Attributes:
        reason: Such as ZERO_AREA_BOX, BAD_BOX, BOX_OUTSIDE (left out), BOX_CLIPPED, SHAPE_DROPPED (changed).
        message: One lower-case sentence.
        class_name: The box's class, "" when it had none.
        edges: The numbers as the file had them: xmin, ymin, xmax, ymax in VOC, x, y, w, h elsewhere.
        line: Where in the file, from 1; None where lines mean nothing.
    """

    reason: str
    message: str
    class_name: str = ""
    edges: tuple[float, ...] = ()
    line: int | None = None

    @property
    def fatal(self) -> bool:
        """Whether the box was left out."""
        return self.reason not in _CHANGES


def fit_to_frame(boxes: Iterable[Box], *, width: int, height: int) -> tuple[tuple[Box, ...], tuple[BoxProblem, ...]]:
    """Returns the boxes that lie in a frame, and what had to be changed or left out.

    One pixel beyond the frame is tolerated and kept (files that count from 1 have it everywhere); more is clipped.
    Rotated boxes are left alone as long as their centre is inside.
    """
    kept: list[Box] = []
    problems: list[BoxProblem] = []
    for box in boxes:
        edges = (box.x, box.y, box.w, box.h)
        if box.rotation:
            inside = 0 <= box.x + box.w / 2 <= width and 0 <= box.y + box.h / 2 <= height
            inside = inside and max(box.w, box.h) <= _LARGEST_TURNED * (width + height)
        else:
            part = box.clip(width=width, height=height)
            inside = min(part.w, part.h) >= LEAST_SIDE_PX
        if not inside:
            message = f"the box lies outside the picture of {width} x {height}"
            problems.append(BoxProblem("BOX_OUTSIDE", message, box.class_name, edges))
        elif box.rotation or _nearly_inside(box, width, height):
            kept.append(box)
        else:
            message = f"the box reaches over the edge of the picture of {width} x {height} and was clipped"
            problems.append(BoxProblem("BOX_CLIPPED", message, box.class_name, edges))
            kept.append(box.clip(width=width, height=height))
    return tuple(kept), tuple(problems)


def _nearly_inside(box: Box, width: int, height: int) -> bool:
    return (
        box.x >= -_TOLERATED_PX
        and box.y >= -_TOLERATED_PX
        and box.x2 <= width + _TOLERATED_PX
        and box.y2 <= height + _TOLERATED_PX
    )


def integer_edges(box: Box, *, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns xmin, ymin, xmax, ymax for executors: both edges rounded, inclusive, at least one pixel, inside."""
    x1, x2 = _round_pair(box.x, box.x2, limit=width)
    y1, y2 = _round_pair(box.y, box.y2, limit=height)
    return x1, y1, x2 - 1, y2 - 1


def _round_pair(low: float, high: float, *, limit: int) -> tuple[int, int]:
    first = min(max(math.floor(low + 0.5), 0), limit - 1)
    return first, min(max(math.floor(high + 0.5), first + 1), limit)


def upright_box(box: Box, *, orientation: int, width: int, height: int) -> Box:
    """Returns a box of the stored frame in the upright frame, its outline with it; one that does not fit is dropped.

    Args:
        box: In the frame of the stored pixels.
        orientation: EXIF orientation, 1 to 8.
        width: Of the stored pixels.
        height: Of the stored pixels.
    """
    left, upper = _upright_point(box.x, box.y, orientation=orientation, width=width, height=height)
    right, lower = _upright_point(box.x2, box.y2, orientation=orientation, width=width, height=height)
    w, h = (box.h, box.w) if orientation in _SWAPS_SIDES else (box.w, box.h)
    shape = box.shape
    if shape is not None and orientation != 1:
        shape = _upright_outline(shape, orientation=orientation, width=width, height=height)
    return replace(box, x=min(left, right), y=min(upper, lower), w=w, h=h, shape=shape)


def _upright_point(x: float, y: float, *, orientation: int, width: int, height: int) -> tuple[float, float]:
    # 5 transposes; 6 turns by 90° clockwise; 7 transposes over the other diagonal; 8 turns by 270°.
    if orientation in _FLIPS_X:
        x = width - x
    if orientation in _FLIPS_Y:
        y = height - y
    return (y, x) if orientation in _SWAPS_SIDES else (x, y)


def _upright_outline(shape: str, *, orientation: int, width: int, height: int) -> str | None:
    turned = []
    try:
        found = json.loads(shape)
        if isinstance(found, dict):
            if found.get("size") != [height, width]:
                return None
            flips = {"flip_x": orientation in _FLIPS_X, "flip_y": orientation in _FLIPS_Y}
            return turn_mask(found, **flips, transpose=orientation in _SWAPS_SIDES)
        for polygon in found:
            points = zip(polygon[0::2], polygon[1::2], strict=False)
            moved = (_upright_point(x, y, orientation=orientation, width=width, height=height) for x, y in points)
            turned.append([value for point in moved for value in point])
    except (ValueError, TypeError, FormatError):
        return None
    return json.dumps(turned, separators=(",", ":"))


def swaps_sides(orientation: int) -> bool:
    """Returns whether width and height of the stored pixels change places when upright."""
    return orientation in _SWAPS_SIDES
