"""The one form that every decoder makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lodeworks_runtime.recipe import Recipe


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """What a network said of N pictures, before any threshold.

    `scores` [N, A, C] are probabilities of the classes at A places, `boxes` [N, A, 4] corners in pixels of the
    letterboxed input, `embedding` [N, D] one vector a picture (D = 0 for networks without one).
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Decoder(Protocol):
    """Brings the outputs of one family of networks into the one form."""

    name: str

    def decode(self, outputs: Mapping[str, NDArray[np.float32]], *, recipe: Recipe) -> RawOutputs:
        """Returns the outputs in the one form, copying nothing it need not; raises ModelError on a wrong shape."""
        ...
