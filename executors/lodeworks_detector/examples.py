"""The pictures of a run with their boxes as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from lodeworks_executor import BadDatasetError, ErrorCode
from lodeworks_runtime.errors import PictureError
from lodeworks_runtime.picture import decode_picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lodeworks_executor import Sample
    from lodeworks_formats.boxes import Box
    from numpy.typing import NDArray

_CACHE_ZOOM = 1.5


@dataclass(frozen=True, slots=True)
class Example:
    """One picture and what is in it.

    Attributes:
        path: the picture's file.
        boxes: [K, 4] corners in pixels, float32.
        classes: [K] positions in the list of classes.
    """

    path: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def read_examples(samples: Iterable[Sample], *, class_names: Sequence[str]) -> list[Example]:
    """Returns the examples of an index; boxes of other classes, crowds and empty boxes are left out."""
    position = {name.casefold(): index for index, name in enumerate(class_names)}
    examples = []
    for sample in samples:
        kept = [box for box in sample.boxes if box.class_name.casefold() in position and _is_object(box)]
        corners = np.array([[box.x, box.y, box.x2, box.y2] for box in kept], dtype=np.float32).reshape(-1, 4)
        classes = np.array([position[box.class_name.casefold()] for box in kept], dtype=np.int64)
        examples.append(Example(sample.asset_path, corners, classes))
    return examples


def _is_object(box: Box) -> bool:
    # A crowd is a region of many objects: one box around it would be learnt as one of them.
    return box.w > 0 and box.h > 0 and not box.crowd


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Returns a picture as BGR [H, W, 3].

    Raises:
        BadDatasetError: the file is missing (code DATASET) or no picture (code PICTURE_FORMAT).
    """
    try:
        return decode_picture(path.read_bytes())
    except OSError as error:
        raise BadDatasetError(f"cannot read the picture {path}: {error}") from error
    except PictureError as error:
        raise BadDatasetError(f"{path.name}: {error}", code=ErrorCode.PICTURE_FORMAT) from error


class PictureCache:
    """Decoded pictures, shrunk to at most 1.5 times the network's input, kept while they fit into a budget."""

    def __init__(self, *, size: tuple[int, int], budget_bytes: int) -> None:
        self._size = size
        self._left = budget_bytes
        self._kept: dict[Path, tuple[NDArray[np.uint8], float]] = {}

    def get(self, path: Path) -> tuple[NDArray[np.uint8], float]:
        """Returns the picture and its scale to the original."""
        found = self._kept.get(path)
        if found is not None:
            return found
        image = read_picture(path)
        scale = min(1.0, _CACHE_ZOOM * min(self._size[0] / image.shape[0], self._size[1] / image.shape[1]))
        if scale < 1.0:
            size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept[path] = image, scale
        return image, scale
