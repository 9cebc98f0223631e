"""Our own detector's outputs: decoded in the network already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.decoders.base import RawOutputs
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lodeworks_runtime.recipe import Recipe

_DIMENSIONS = 3
_CORNERS = 4


class LodeworksDecoder:
    """Takes `scores`, `boxes` and `embedding` as they are and checks their shapes."""

    name = "lodeworks"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs as they are; raises ModelError when one is missing or of a wrong shape."""
        missing = [name for name in ("scores", "boxes") if name not in outputs]
        if missing:
            raise ModelError(
                f"the network has no output {' and '.join(missing)} (it has {', '.join(outputs)}): "
                "name its decoder in model_info"
            )
        scores, boxes = outputs["scores"], outputs["boxes"]
        if scores.ndim != _DIMENSIONS or scores.shape[2] != len(recipe.classes):
            raise ModelError(f"scores are {list(scores.shape)}, but the model names {len(recipe.classes)} classes")
        if boxes.shape != (*scores.shape[:2], _CORNERS):
            raise ModelError(f"boxes are {list(boxes.shape)}, but the scores are {list(scores.shape)}")
        embedding = outputs.get("embedding")
        if embedding is None:
            embedding = np.empty((len(scores), 0), dtype=np.float32)
        return RawOutputs(scores=scores, boxes=boxes, embedding=embedding)
