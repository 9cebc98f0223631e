"""CALD: pictures come first whose boxes change when the picture is changed in ways that should not matter.

Yu et al., "Consistency-based Active Learning for Object Detection" (CVPRW 2022). Each box is sought again after a flip,
a cut-out, a reduction and a rotation; its consistency is the overlap with what is found there plus the agreement on the
class. The lower the consistency, the more there is to learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

_BASE = 1.3
"""The paper's base point: a consistency near it says that the model is right or wrong for good."""
_DEGREES = 5.0
_REDUCED = 0.7
_CUT = 0.3


class _Found(NamedTuple):
    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    shares: NDArray[np.float64]


def cald(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> float:
    """Returns minus the mean, over the changes, of the least informative consistency of a picture's boxes."""
    seen = _find(algorithm, image, threshold)
    if not len(seen.scores):
        return -_BASE
    measured = [
        _consistency(seen._replace(corners=moved), _find(algorithm, changed, threshold))
        for changed, moved in changes(image, seen.corners)
    ]
    return -float(np.mean(measured))


def changes(
    image: NDArray[np.uint8], corners: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yields the changed pictures and where the boxes [K, 4] lie in each."""
    height, width = image.shape[:2]
    mirrored = corners.copy()
    mirrored[:, [0, 2]] = width - corners[:, [2, 0]]
    yield np.ascontiguousarray(image[:, ::-1]), mirrored
    yield _cut_out(image, corners), corners
    small = (max(1, round(width * _REDUCED)), max(1, round(height * _REDUCED)))
    shrunk = np.full_like(image, 114)
    shrunk[: small[1], : small[0]] = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    yield shrunk, corners * np.array([small[0] / width, small[1] / height] * 2, np.float32)
    turn = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), _DEGREES, 1.0), np.float64)
    turned = cv2.warpAffine(image, turn, (width, height), borderValue=(114, 114, 114))
    yield np.asarray(turned, np.uint8), _turned(corners, turn, limit=(width, height))


def _cut_out(image: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns the picture with the middle of each box greyed."""
    cut = image.copy()
    for left, top, right, bottom in corners:
        w, h = (right - left) * _CUT, (bottom - top) * _CUT
        x, y = (left + right - w) / 2, (top + bottom - h) / 2
        cut[max(0, round(y)) : round(y + h), max(0, round(x)) : round(x + w)] = 114
    return cut


def _turned(corners: NDArray[np.float32], turn: NDArray[np.floating], *, limit: tuple[int, int]) -> NDArray[np.float32]:
    points = corners[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = points @ turn[:, :2].T + turn[:, 2]
    boxes = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
    clipped: NDArray[np.float32] = np.clip(boxes, 0, [*limit, *limit]).astype(np.float32)
    return clipped


def _find(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> _Found:
    outputs, placement = algorithm.raw(image)
    kept = algorithm.pick(outputs, placement, score=threshold)
    rows = outputs.scores[0][kept.places].astype(np.float64)
    nothing = 1 - rows.max(axis=1, keepdims=True, initial=0.0)
    shares = np.concatenate([rows, nothing], axis=1)
    return _Found(kept.corners, kept.scores, shares / shares.sum(axis=1, keepdims=True))


def _consistency(seen: _Found, again: _Found) -> float:
    if not len(again.scores):
        return abs(0.0 - _BASE)
    overlap = _overlaps(seen.corners, again.corners)
    best = overlap.argmax(axis=1)
    agreement = 1 - _jensen_shannon(seen.shares, again.shares[best])
    classes = 0.5 * (seen.scores + again.scores[best]) * agreement
    return float(np.abs(overlap.max(axis=1) + classes - _BASE).min())


def _overlaps(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (ours, theirs)]
    found: NDArray[np.float32] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
    return found


def _jensen_shannon(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the divergence of each pair of rows, 0 to 1."""
    middle = (ours + theirs) / 2

    def against(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = np.where(rows > 0, rows * np.log2(np.maximum(rows, 1e-12) / np.maximum(middle, 1e-12)), 0.0)
        summed: NDArray[np.float64] = parts.sum(axis=1)
        return summed

    return (against(ours) + against(theirs)) / 2
