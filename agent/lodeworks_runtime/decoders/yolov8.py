"""YOLOv8, v9 and 11: one output [N, 4 + C, A], decoded to pixels of the input, no objectness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_runtime.decoders.foreign import channels, corners_of, only_output, without_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lodeworks_runtime.decoders.base import RawOutputs
    from lodeworks_runtime.recipe import Recipe


class YoloV8Decoder:
    """Reads centre, size and class probabilities, places along the last axis."""

    name = "yolov8"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form; raises ModelError on a wrong shape."""
        found = only_output(outputs, decoder=self.name).transpose(0, 2, 1)
        channels(found, wanted=4 + len(recipe.classes), classes=len(recipe.classes), decoder=self.name)
        return without_embedding(found[..., 4:], corners_of(found[..., :4]))
