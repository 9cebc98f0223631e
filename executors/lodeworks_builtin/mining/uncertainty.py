"""Uncertainty: pictures whose boxes the model is unsure of come first.

The classes of a detector are independent yes-or-no answers. Each measure is taken box by box, over the boxes that are
kept at a low threshold, and summed: a picture with many doubtful boxes teaches more than one with a single one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray


def entropy(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> float:
    """Returns the sum, over the kept boxes, of the entropy of each box's classes, in bits."""
    return float(entropy_bits(kept_scores(algorithm, image, threshold)).sum())


def least_confidence(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> float:
    """Returns the sum, over the kept boxes, of how far the most probable class is from certain."""
    return float((1 - kept_scores(algorithm, image, threshold).max(axis=1, initial=0.0)).sum())


def margin(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> float:
    """Returns the sum, over the kept boxes, of (1 − (first − second))², of the two most probable classes.

    Brust, Käding and Denzler, "Active Learning for Deep Object Detection" (VISAPP 2019). A detector of one class is
    compared with "nothing": its second class is 1 − p.
    """
    scores = kept_scores(algorithm, image, threshold)
    if scores.shape[1] == 1:
        scores = np.concatenate([scores, 1 - scores], axis=1)
    ordered = np.sort(scores, axis=1)
    return float(np.square(1 - (ordered[:, -1] - ordered[:, -2])).sum())


def kept_scores(algorithm: Algorithm, image: NDArray[np.uint8], threshold: float) -> NDArray[np.float64]:
    """Returns the class probabilities [K, C] of the kept boxes; a place that is kept for two classes is one box."""
    outputs, placement = algorithm.raw(image)
    kept = algorithm.pick(outputs, placement, score=threshold)
    rows: NDArray[np.float64] = outputs.scores[0][np.unique(kept.places)].astype(np.float64)
    return rows


def entropy_bits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the binary entropy of each probability, in bits: 0 where the answer is sure, 1 where it is open."""
    shares = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    bits: NDArray[np.float64] = -(shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares))
    return bits
