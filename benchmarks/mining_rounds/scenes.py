"""Scenes that a small network learns in seconds: two common classes, two rare ones, many pictures without any.

The things are those of the made pictures. Colour points to a class, but look-alikes have it too: only the outline tells
the two apart. One thing in front of another, light and noise as in the made pictures, but larger things, fewer of them.
"""

import cv2
import numpy as np
from lodeworks_builtin.made_pictures.shapes import CLASSES, LOOK_ALIKES, draw_mask
from lodeworks_formats.boxes import Box
from numpy.typing import NDArray

COLOURS = {
    "ring": (60, 70, 215),
    "disc": (60, 70, 215),
    "square": (70, 180, 70),
    "triangle": (70, 180, 70),
    "cross": (205, 120, 50),
    "star": (40, 190, 220),
    "bar": (205, 120, 50),
}
"""Of each kind, blue first; a thing differs from it by up to 45 in each channel."""
_SPREAD = 45.0
_SIZES = (0.2, 0.42)
"""Least and greatest diameter, as a part of the picture's side."""
_MOST_THINGS = 4
_MOST_OVERLAP = 0.25
_TRIES = 10


def draw_thing_scene(
    rng: np.random.Generator, *, side: int, shares: tuple[float, ...] | None
) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
    """Returns a picture [side, side, 3] and its boxes; `shares` is how often each of CLASSES comes, None: never."""
    image = _background(rng, side)
    kinds = [str(kind) for kind in rng.choice(LOOK_ALIKES, size=rng.integers(0, 3))]
    if shares is not None:
        chances = np.array(shares) / sum(shares)
        kinds += [str(kind) for kind in rng.choice(CLASSES, size=rng.integers(1, _MOST_THINGS + 1), p=chances)]
    placed: list[Box] = []
    for kind in rng.permutation(kinds):
        _put(rng, image, str(kind), placed)
    light = image * rng.uniform(0.75, 1.15) + rng.normal(0, rng.uniform(2, 8), image.shape)
    boxes = tuple(box for box in placed if box.class_name in CLASSES)
    return np.asarray(np.clip(np.round(light), 0, 255), np.uint8), boxes


def _background(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    coarse = rng.uniform(60, 190, (3, 3, 1)) + rng.uniform(-25, 25, (3, 3, 3))
    smooth = cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)


def _put(rng: np.random.Generator, image: NDArray[np.float32], kind: str, placed: list[Box]) -> None:
    """Paints a thing where it covers no other one by much; after some tries it is left out."""
    side = image.shape[0]
    for _ in range(_TRIES):
        size = side * float(rng.uniform(*_SIZES))
        x, y = (float(value) for value in rng.uniform(size * 0.45, side - size * 0.45, 2))
        mask = draw_mask(kind, size=size, angle=float(rng.uniform(0, 2 * np.pi)), centre=(x, y), shape=(side, side))
        left, top, width, height = cv2.boundingRect(np.asarray(mask > 127, np.uint8))  # noqa: PLR2004 - half covered
        box = Box(kind, float(left), float(top), float(width), float(height))
        if all(_covered(box, other) <= _MOST_OVERLAP for other in placed):
            share = mask.astype(np.float32)[..., None] / 255
            colour = np.array(COLOURS[kind], np.float32) + rng.uniform(-_SPREAD, _SPREAD, 3).astype(np.float32)
            image[:] = image * (1 - share) + colour * share
            placed.append(box)
            return


def _covered(a: Box, b: Box) -> float:
    """Returns which share of the smaller box the two have in common."""
    width, height = min(a.x2, b.x2) - max(a.x, b.x), min(a.y2, b.y2) - max(a.y, b.y)
    return max(width, 0.0) * max(height, 0.0) / min(a.area, b.area)
