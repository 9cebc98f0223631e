"""YOLOv5, v7 and their kin: one output [N, A, 5 + C], decoded to pixels of the input, objectness beside classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_runtime.decoders.foreign import channels, corners_of, only_output, without_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lodeworks_runtime.decoders.base import RawOutputs
    from lodeworks_runtime.recipe import Recipe


class YoloV5Decoder:
    """Reads centre, size, objectness and class probabilities; a score is objectness times class."""

    name = "yolov5"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form; raises ModelError on a wrong shape."""
        found = only_output(outputs, decoder=self.name)
        channels(found, wanted=5 + len(recipe.classes), classes=len(recipe.classes), decoder=self.name)
        return without_embedding(found[..., 4:5] * found[..., 5:], corners_of(found[..., :4]))
