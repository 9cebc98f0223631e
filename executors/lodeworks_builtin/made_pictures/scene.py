"""One made picture: background, clutter, things of very different sizes, things in front of things, noise.

Neither colour nor brightness tells a class: only its outline does, and look-alikes share parts of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from lodeworks_formats.boxes import Box

from lodeworks_builtin.made_pictures.shapes import LOOK_ALIKES, draw_mask

_RARE_SHARE = 0.06
_MOST_THINGS = 7
_SMALLEST, _LARGEST = 0.09, 0.42
_MOST_OVERLAP = 0.3
_TRIES = 12
_LEAST_CONTRAST = 45


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (BGR uint8[H, W, 3]) and the boxes in it."""

    image: np.ndarray
    boxes: tuple[Box, ...]


def draw_scene(rng: np.random.Generator, *, width: int, height: int, class_names: tuple[str, ...]) -> Scene:
    """Returns a scene drawn from a random generator; the last of several classes is rare."""
    image = _background(rng, width, height)
    placed: list[Box] = []
    for kind in _kinds(rng, class_names):
        found = _place(rng, placed, kind=kind, shape=(height, width))
        if found is not None:
            mask, box = found
            _paint(rng, image, mask)
            placed.append(box)
    _foreground(rng, image)
    return Scene(_camera(rng, image), tuple(box for box in placed if box.class_name in class_names))


def _kinds(rng: np.random.Generator, class_names: tuple[str, ...]) -> list[str]:
    shares = np.ones(len(class_names))
    if len(class_names) > 1:
        shares[-1] = _RARE_SHARE * (len(class_names) - 1) / (1 - _RARE_SHARE)
    things = rng.choice(class_names, size=rng.integers(1, _MOST_THINGS + 1), p=shares / shares.sum())
    others = rng.choice(LOOK_ALIKES, size=rng.integers(0, 4))
    return [str(kind) for kind in rng.permutation(np.concatenate([things, others]))]


def _place(
    rng: np.random.Generator, taken: list[Box], *, kind: str, shape: tuple[int, int]
) -> tuple[np.ndarray, Box] | None:
    height, width = shape
    for _ in range(_TRIES):
        low, high = np.log(_SMALLEST * min(shape)), np.log(_LARGEST * min(shape))
        size = float(np.exp(rng.uniform(low, high)))
        # A little over the edge of the frame is allowed, as in real pictures.
        centre = (
            float(rng.uniform(size * 0.35, width - size * 0.35)),
            float(rng.uniform(size * 0.35, height - size * 0.35)),
        )
        mask = draw_mask(kind, size=size, angle=float(rng.uniform(0, 2 * np.pi)), centre=centre, shape=shape)
        x, y, w, h = cv2.boundingRect(np.asarray(mask > 127, np.uint8))  # noqa: PLR2004 — half covered
        box = Box(kind, float(x), float(y), float(w), float(h))
        if min(w, h) > 0 and all(_covered(box, other) <= _MOST_OVERLAP for other in taken):
            return mask, box
    return None


def _covered(a: Box, b: Box) -> float:
    """Returns which share of the smaller box the two have in common."""
    w, h = min(a.x2, b.x2) - max(a.x, b.x), min(a.y2, b.y2) - max(a.y, b.y)
    return max(w, 0.0) * max(h, 0.0) / min(a.area, b.area)


def _paint(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> None:
    x, y, w, h = cv2.boundingRect(mask)
    part, mask = image[y : y + h, x : x + w], mask[y : y + h, x : x + w]
    around = part[mask > 0].mean(axis=0)
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - around).max() < _LEAST_CONTRAST:
        colour = rng.uniform(0, 255, 3)
    grain = cv2.resize(rng.normal(0, 14, (8, 8)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    share = (mask.astype(np.float32) / 255)[..., None]
    painted = colour.astype(np.float32) + grain[..., None]
    part[:] = np.clip(part * (1 - share) + painted * share, 0, 255)


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    coarse = rng.uniform(30, 225, (int(rng.integers(2, 5)), int(rng.integers(2, 5)), 3)).astype(np.float32)
    image: np.ndarray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 12, (height // 8, width // 8, 1)).astype(np.float32)
    image += cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    image = np.clip(image, 0, 255)
    for _ in range(int(rng.integers(4, 14))):
        _scribble(rng, image)
    return image


def _scribble(rng: np.random.Generator, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    points = rng.uniform((0, 0), (width, height), (int(rng.integers(2, 5)), 2)).astype(np.int32)
    colour = tuple(float(value) for value in rng.uniform(0, 255, 3))
    cv2.polylines(image, [points], bool(rng.random() < 0.3), colour, int(rng.integers(1, 3)), cv2.LINE_AA)  # noqa: PLR2004


def _foreground(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws bars over everything: they hide a part of some things."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(0, 4))):
        ends = rng.uniform((0, 0), (width, height), (2, 2)).astype(np.int32)
        first, second = (tuple(int(value) for value in end) for end in ends)
        colour = tuple(float(value) for value in rng.uniform(0, 255, 3))
        cv2.line(image, first, second, colour, int(rng.integers(2, max(3, min(width, height) // 40))), cv2.LINE_AA)


def _camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Applies exposure, blur and sensor noise."""
    image = (image - 128) * np.float32(rng.uniform(0.7, 1.1)) + np.float32(128 + rng.uniform(-25, 25))
    sigma = float(rng.uniform(0, 0.9))
    if sigma > 0.3:  # noqa: PLR2004 — less cannot be seen
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + noise * np.float32(rng.uniform(2, 9))
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
