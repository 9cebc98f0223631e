"""ALDD: pictures where the model's answer changes from place to place come first.

Aghdam et al., "Active Learning for Deep Detection Neural Networks" (ICCV 2019). Within a small window the entropy of
the mean probability minus the mean entropy is the divergence of the answers there: 0 where all agree, also where all
are equally unsure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from lodeworks_executor.errors import BadModelError

from lodeworks_builtin.mining.uncertainty import entropy_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

_WINDOW = 3


def aldd(algorithm: Algorithm, image: NDArray[np.uint8], _threshold: float) -> float:
    """Returns the sum, over levels, classes and blocks of 3 by 3 places, of each block's highest divergence.

    Raises BadModelError for a network whose places are not the cells of the levels that its strides name.
    """
    outputs, _ = algorithm.raw(image)
    return sum(_blocks(divergence(level)) for level in _levels(outputs.scores[0], algorithm))


def divergence(level: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the divergence in bits [h, w, C] of probabilities [h, w, C] around each place."""
    probabilities = np.ascontiguousarray(level, dtype=np.float64)
    found: NDArray[np.float64] = np.maximum(
        entropy_bits(_mean_around(probabilities)) - _mean_around(entropy_bits(probabilities)), 0.0
    )
    return found


def _mean_around(values: NDArray[np.float64]) -> NDArray[np.float64]:
    blurred = cv2.blur(values, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(values.shape)


def _blocks(found: NDArray[np.float64]) -> float:
    height, width, classes = found.shape
    padded = np.zeros((-(-height // _WINDOW) * _WINDOW, -(-width // _WINDOW) * _WINDOW, classes))
    padded[:height, :width] = found
    blocks = padded.reshape(padded.shape[0] // _WINDOW, _WINDOW, padded.shape[1] // _WINDOW, _WINDOW, classes)
    return float(blocks.max(axis=(1, 3)).sum())


def _levels(scores: NDArray[np.float32], algorithm: Algorithm) -> Iterator[NDArray[np.float32]]:
    recipe = algorithm.recipe
    shapes = [(recipe.height // stride, recipe.width // stride) for stride in recipe.strides]
    if not shapes or sum(height * width for height, width in shapes) != len(scores):
        raise BadModelError(
            f"strategy aldd needs a network that answers cell by cell; this one gives {len(scores)} places and names "
            f"the strides {list(recipe.strides)}: choose another strategy"
        )
    begin = 0
    for height, width in shapes:
        yield scores[begin : begin + height * width].reshape(height, width, -1)
        begin += height * width
