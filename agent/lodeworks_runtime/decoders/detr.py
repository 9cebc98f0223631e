"""DETR and its kin: a set of queries, each with class logits and one box as fractions of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.decoders.foreign import corners_of, without_embedding
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lodeworks_runtime.decoders.base import RawOutputs
    from lodeworks_runtime.recipe import Recipe

_LOGITS = ("logits", "pred_logits")
_BOXES = ("pred_boxes", "boxes")
_DIMENSIONS = 3


class DetrDecoder:
    """Reads `logits` and `pred_boxes` (centre and size, 0 to 1).

    With one logit more than classes the last one means "no object" and the logits go through softmax (DETR); with as
    many logits as classes each goes through a sigmoid (Deformable DETR, RT-DETR).
    """

    name = "detr"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form; raises ModelError when one is missing or of a wrong shape."""
        logits, boxes = _named(outputs, _LOGITS), _named(outputs, _BOXES)
        if boxes.ndim != _DIMENSIONS or logits.shape[:2] != boxes.shape[:2]:
            raise ModelError(f"logits are {list(logits.shape)}, boxes are {list(boxes.shape)}: they must be of one set")
        count = len(recipe.classes)
        if logits.shape[2] == count + 1:
            scores = _softmax(logits)[..., :count]
        elif logits.shape[2] == count:
            scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
        else:
            raise ModelError(
                f"the network gives {logits.shape[2]} logits a query, but the model names {count} classes: "
                "name every class of the network, in its order"
            )
        size = np.array([recipe.width, recipe.height] * 2, dtype=np.float32)
        return without_embedding(scores, corners_of(boxes * size))


def _named(outputs: Mapping[str, NDArray[np.float32]], names: tuple[str, ...]) -> NDArray[np.float32]:
    for name in names:
        if name in outputs:
            return outputs[name]
    raise ModelError(f"decoder 'detr' wants an output named {' or '.join(names)}, the network has {', '.join(outputs)}")


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
