"""What a picture looks like, as a vector: the model's embedding, or a description that needs no model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from lodeworks_runtime.decoders import RawOutputs
    from numpy.typing import NDArray

    from lodeworks_builtin.mining.base import Look

_SIDE = 64
_COLOUR_BINS = 8
_CELLS = 8
_DIRECTIONS = 9


def vectors(pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yields (digest, vector [D] of length 1) of each picture, and says once where the model gives none."""
    told = False
    for digest, (vector, own) in look.each(pictures, _vector):
        if not own and not told:
            told = True
            print("no embedding from a model: pictures are compared by colour and edges", file=sys.stderr)  # noqa: T201
        yield digest, vector


def embedding_or_description(outputs: RawOutputs, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the embedding of the picture as a vector [D] of length 1, or its description where there is none."""
    return unit(outputs.embedding[0].copy()) if outputs.embedding.shape[1] else description(image)


def description(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns edges by direction and place, and colours, of a picture [H, W, 3] as a vector of length 1."""
    small = np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB)
    colours = [cv2.calcHist([lab], [channel], None, [_COLOUR_BINS], [0, 256]).ravel() for channel in range(3)]
    return unit(np.concatenate([unit(_edges(small)), unit(np.concatenate(colours))]))


def _edges(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns, for each of 8 by 8 cells, how strong the edges of each direction are."""
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    strength, angle = cv2.cartToPolar(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    direction = (np.asarray(angle) / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    rows, columns = np.mgrid[:_SIDE, :_SIDE] * _CELLS // _SIDE
    found = np.zeros((_CELLS, _CELLS, _DIRECTIONS), np.float32)
    np.add.at(found, (rows, columns, direction), np.asarray(strength))
    return found.ravel()


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the vector at length 1; zeros stay."""
    length = np.float32(np.linalg.norm(vector))
    scaled: NDArray[np.float32] = vector / length if length > 0 else vector
    return scaled


def _vector(algorithm: Algorithm | None, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], bool]:
    if algorithm is None:
        return description(image), False
    outputs, _ = algorithm.raw(image)
    return embedding_or_description(outputs, image), bool(outputs.embedding.shape[1])
