"""YOLOX as exported by default: one output [N, A, 5 + C], boxes still relative to their grid cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.decoders.foreign import channels, corners_of, only_output, without_embedding
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lodeworks_runtime.decoders.base import RawOutputs
    from lodeworks_runtime.recipe import Recipe

_STRIDES = (8, 16, 32)


class YoloXDecoder:
    """Moves boxes from grid cells to pixels: centre = (cell + offset) · stride, size = exp(value) · stride.

    The places stand level by level in the order of the model's strides (8, 16, 32 when it names none), row by row
    within a level. Objectness and classes are probabilities already.
    """

    name = "yolox"

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form; raises ModelError on a wrong shape."""
        found = only_output(outputs, decoder=self.name)
        channels(found, wanted=5 + len(recipe.classes), classes=len(recipe.classes), decoder=self.name)
        strides = recipe.strides or _STRIDES
        cells, scale = _grid(recipe.height, recipe.width, strides=strides)
        if found.shape[1] != len(cells):
            raise ModelError(
                f"decoder {self.name!r} wants {len(cells)} places for an input of {recipe.height}x{recipe.width} and "
                f"strides {list(strides)}, the network gives {found.shape[1]}: check input_size and strides"
            )
        centred = np.concatenate([(found[..., :2] + cells) * scale, np.exp(found[..., 2:4]) * scale], axis=-1)
        return without_embedding(found[..., 4:5] * found[..., 5:], corners_of(centred))


def _grid(height: int, width: int, *, strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the cell (x, y) of every place [A, 2] and its stride [A, 1]."""
    cells, scales = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        level = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)
        cells.append(level)
        scales.append(np.full((len(level), 1), stride, dtype=np.float32))
    return np.concatenate(cells), np.concatenate(scales)
