"""The things in made pictures: four classes, and look-alikes that are none of them."""

from collections.abc import Callable

import cv2
import numpy as np

CLASSES = ("ring", "square", "cross", "star")
"""The last class asked for is the rare one."""

LOOK_ALIKES = ("disc", "triangle", "bar")

# Sub-pixel accuracy of cv2's drawing: coordinates carry this many fractional bits.
_SHIFT = 4


def draw_mask(
    kind: str, *, size: float, angle: float, centre: tuple[float, float], shape: tuple[int, int]
) -> np.ndarray:
    """Returns the outline-smooth mask of one thing.

    Args:
        kind: One of CLASSES or LOOK_ALIKES.
        size: Diameter in pixels.
        angle: Radians.
        centre: x, y.
        shape: Height and width of the mask.

    Returns:
        uint8[H, W], 255 inside, with smooth edges.
    """
    mask = np.zeros(shape, np.uint8)
    radius = size / 2
    if kind in ("ring", "disc"):
        middle = _fixed(np.array(centre))
        thickness = max(2, round(radius * 0.42)) if kind == "ring" else -1
        reach = radius - thickness / 2 if kind == "ring" else radius
        place = (int(middle[0]), int(middle[1]))
        cv2.circle(mask, place, round(reach * (1 << _SHIFT)), 255, thickness, cv2.LINE_AA, _SHIFT)
        return mask
    points = _OUTLINES[kind](radius)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = _fixed(points @ turn.T + np.array(centre))
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
    return mask


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(points * (1 << _SHIFT)), np.int32)


def _square(radius: float) -> np.ndarray:
    side = radius * 0.82
    return np.array([(-side, -side), (side, -side), (side, side), (-side, side)])


def _cross(radius: float) -> np.ndarray:
    arm = radius * 0.3
    quarter = [(-arm, -radius), (arm, -radius), (arm, -arm)]
    turns = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in np.arange(4) * np.pi / 2]
    return np.concatenate([np.array(quarter) @ turn.T for turn in turns])


def _star(radius: float) -> np.ndarray:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, radius, radius * 0.42)
    return np.stack([np.cos(angles) * reach, np.sin(angles) * reach], axis=1)


def _triangle(radius: float) -> np.ndarray:
    angles = np.arange(3) * 2 * np.pi / 3 - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def _bar(radius: float) -> np.ndarray:
    thin = radius * 0.22
    return np.array([(-radius, -thin), (radius, -thin), (radius, thin), (-radius, thin)])


_OUTLINES: dict[str, Callable[[float], np.ndarray]] = {
    "square": _square,
    "cross": _cross,
    "star": _star,
    "triangle": _triangle,
    "bar": _bar,
}
