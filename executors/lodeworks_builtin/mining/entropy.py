"""Entropy: pictures whose boxes the model is unsure of come first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

    from lodeworks_builtin.mining.base import Look

_SCORE = 0.1


class EntropyStrategy:
    """Sums, over the boxes that are kept, the entropy of each box's class probabilities.

    The classes of a detector are independent yes-or-no answers, so that the entropy of a box is the sum of theirs, in
    bits: 0 where every answer is sure, one bit for each that is open.
    """

    name = "entropy"
    needs_model = True

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields each picture's entropy; pictures that cannot be read are left out and told."""
        if look.stream is None:
            raise ValueError("entropy needs a model")
        threshold = _SCORE if look.score_threshold is None else look.score_threshold

        def measure(algorithm: Algorithm, image: NDArray[np.uint8]) -> float:
            outputs, placement = algorithm.raw(image)
            kept = algorithm.pick(outputs, placement, score=threshold)
            # A place that is kept for two classes is one box.
            return entropy_bits(outputs.scores[0][np.unique(kept.places)])

        for seen in look.stream.look(pictures, measure):
            if seen.found is None:
                print(f"left out: {seen.problem}", file=sys.stderr)  # noqa: T201 - the log of a run
            else:
                yield seen.picture.digest, seen.found


def entropy_bits(probabilities: NDArray[np.float32]) -> float:
    """Returns the sum of the binary entropies of probabilities of any shape, in bits."""
    shares = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    return float(-(shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares)).sum())
