"""Networks that end with their own suppression: boxes in pixels, each with its score and its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.decoders.foreign import without_embedding
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lodeworks_runtime.decoders.base import RawOutputs
    from lodeworks_runtime.recipe import Recipe

_COLUMNS = 6
_CORNERS = 4
_FLAT = 3


class DetectionsDecoder:
    """Reads one output [1, K, 6] (corners, score, class), or the outputs `boxes`, `scores` and `labels` [K, …].

    The one output is what YOLOv10, YOLO26 and exports with suppression give: its classes count from 0, and rows
    without a score pad it. The three are those of torchvision, whose labels count from 1, since 0 is the background.
    Corners are pixels of the input. K may differ from picture to picture.
    """

    name = "detections"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form; raises ModelError when one is missing or of a wrong shape."""
        if {"boxes", "scores", "labels"} <= outputs.keys():
            boxes, scores = outputs["boxes"].reshape(-1, _CORNERS), outputs["scores"].reshape(-1)
            classes = outputs["labels"].reshape(-1).astype(np.int64) - 1
        else:
            flat = [value for value in outputs.values() if value.ndim == _FLAT and value.shape[2] == _COLUMNS]
            if len(flat) != 1 or flat[0].shape[0] != 1:
                shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
                raise ModelError(
                    f"decoder {self.name!r} wants one output [1, K, 6], or boxes, scores and labels; the network has "
                    f"{shapes}"
                )
            rows = flat[0][0][flat[0][0][:, 4] > 0]
            boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
        if not len(boxes) == len(scores) == len(classes):
            raise ModelError(f"there are {len(boxes)} boxes, {len(scores)} scores and {len(classes)} labels")
        if classes.size and not 0 <= classes.min() <= classes.max() < len(recipe.classes):
            raise ModelError(
                f"the network answers with class {int(classes.max())}, counted from 0, but the model names "
                f"{len(recipe.classes)} classes: name every class of the network, in its order"
            )
        each = np.zeros((1, len(scores), len(recipe.classes)), dtype=np.float32)
        each[0, np.arange(len(scores)), classes] = scores
        return without_embedding(each, boxes[None].astype(np.float32, copy=False))
