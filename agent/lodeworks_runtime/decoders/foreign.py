"""What the decoders of networks trained elsewhere share: finding the outputs, and corners of centred boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lodeworks_runtime.decoders.base import RawOutputs
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_DIMENSIONS = 3


def only_output(outputs: Mapping[str, NDArray[np.float32]], *, decoder: str) -> NDArray[np.float32]:
    """Returns the one output [N, ·, ·] of a network; raises ModelError when there is none, or more than one."""
    flat = {name: value for name, value in outputs.items() if value.ndim == _DIMENSIONS}
    if len(flat) != 1:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise ModelError(f"decoder {decoder!r} wants one output of three dimensions, the network has {shapes}")
    return next(iter(flat.values()))


def channels(found: NDArray[np.float32], *, wanted: int, classes: int, decoder: str) -> None:
    """Raises ModelError unless the last axis holds what the named classes make necessary."""
    if found.shape[2] != wanted:
        raise ModelError(
            f"decoder {decoder!r} wants {wanted} values a place for {classes} classes, the network gives "
            f"{found.shape[2]} (shape {list(found.shape)}): check the classes and the decoder"
        )


def corners_of(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns boxes [..., (centre x, centre y, width, height)] as [..., (left, top, right, bottom)]."""
    half = centred[..., 2:4] * np.float32(0.5)
    return np.concatenate([centred[..., :2] - half, centred[..., :2] + half], axis=-1)


def without_embedding(scores: NDArray[np.float32], boxes: NDArray[np.float32]) -> RawOutputs:
    """Returns the one form of a network that gives no embedding."""
    return RawOutputs(scores=scores, boxes=boxes, embedding=np.empty((len(scores), 0), dtype=np.float32))
