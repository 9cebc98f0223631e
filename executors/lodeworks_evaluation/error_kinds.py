"""Why a box is wrong, and what mending each kind of mistake would gain (after TIDE, Bolya et al., ECCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_evaluation.matching import UNMATCHED
from lodeworks_evaluation.thresholds import interpolated_ap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lodeworks_evaluation.thresholds import Matches

_BACKGROUND_IOU = 0.1


class ErrorKind(IntEnum):
    """What is wrong with a box; NONE for a right one or one out of the count."""

    NONE = 0
    CLASSIFICATION = 1
    LOCALISATION = 2
    BOTH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    MISSED = 6


@dataclass(frozen=True, slots=True)
class ErrorShare:
    """How often a kind of mistake happens and the AP (mean over classes, at the matches' IoU) won by mending it."""

    count: int
    gain: float


def kinds_of_predictions(matches: Matches, *, conf: float) -> NDArray[np.int64]:
    """Returns the kind of mistake of each prediction [predictions] at a confidence."""
    near, far = matches.iou, _BACKGROUND_IOU
    same, other = matches.same_iou, matches.other_iou
    kind = np.select(
        [(same >= far) & (same < near), other >= near, same >= near, np.maximum(same, other) < far],
        [ErrorKind.LOCALISATION, ErrorKind.CLASSIFICATION, ErrorKind.DUPLICATE, ErrorKind.BACKGROUND],
        default=ErrorKind.BOTH,
    )
    return np.where(matches.false_alarms(conf), kind, ErrorKind.NONE).astype(np.int64)


def error_shares(matches: Matches, *, conf: float) -> dict[ErrorKind, ErrorShare]:
    """Returns count and gain of each kind of mistake. Predictions under the confidence count in neither."""
    kinds = kinds_of_predictions(matches, conf=conf)
    missed = matches.missed(conf)
    kept = (matches.prediction_score >= conf) & (matches.prediction_match >= UNMATCHED)
    hit = kept & (matches.prediction_match >= 0)
    counted = matches.truth_match >= UNMATCHED
    base = _mean_ap(matches, kept, hit, counted)
    shares: dict[ErrorKind, ErrorShare] = {}
    for kind in list(ErrorKind)[1:]:
        if kind is ErrorKind.MISSED:
            count, mended = int(np.count_nonzero(missed)), _mean_ap(matches, kept, hit, counted & ~missed)
        else:
            wrong = kinds == kind
            count = int(np.count_nonzero(wrong))
            # A wrong box is mended by taking it away: what that wins is the least that mending it would win.
            mended = _mean_ap(matches, kept & ~wrong, hit, counted)
        shares[kind] = ErrorShare(count, max(0.0, mended - base))
    return shares


def _mean_ap(matches: Matches, kept: NDArray[np.bool_], hit: NDArray[np.bool_], counted: NDArray[np.bool_]) -> float:
    """Returns the mean AP of the predictions kept against the ground truth counted."""
    found = []
    for index in range(len(matches.class_names)):
        chosen = kept & (matches.prediction_class == index)
        truths = int(np.count_nonzero(counted & (matches.truth_class == index)))
        ap = interpolated_ap(matches.prediction_score[chosen], hit[chosen], truths=truths)
        if ap is not None:
            found.append(ap)
    return float(np.mean(found)) if found else 0.0
