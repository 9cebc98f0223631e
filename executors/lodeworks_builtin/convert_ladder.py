"""What to try next when a variant costs too much accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lodeworks_converters.base import PERCENTILE, Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lodeworks_converters.guard import GuardScores, Verdict

_SHARES = (0.1, 0.3)
"""Of the convolutions, how many of the worst stay float in the last two steps."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One step of the ladder and what came of it."""

    attempt: Attempt
    scores: GuardScores
    verdict: Verdict


def next_attempt(
    target: str, precision: str, *, tried: Sequence[Tried], worst_layers: Callable[[], Sequence[str]]
) -> Attempt | None:
    """Returns the next step, None when there is none left.

    Cheap ones first: other ranges of the activations, then a more careful correction of the biases (OpenVINO only),
    then the best of these with the worst tenth and the worst third of the layers left float. `worst_layers` is asked
    late, because ranking them takes a while.
    """
    first = Attempt(precision)
    if precision != "int8":
        return None if tried else first
    plain = [first, Attempt(precision, calibration=PERCENTILE)]
    if target == "openvino":
        plain.append(Attempt(precision, accurate_bias=True))
    if len(tried) < len(plain):
        return plain[len(tried)]
    step = len(tried) - len(plain)
    if step >= len(_SHARES):
        return None
    best = min(tried[: len(plain)], key=lambda one: _badness(one.verdict)).attempt
    layers = worst_layers()
    count = max(2, math.ceil(_SHARES[step] * len(layers)))
    return Attempt(
        precision,
        calibration=best.calibration,
        accurate_bias=best.accurate_bias,
        keep_float=tuple(sorted(layers[:count])),
    )


def _badness(verdict: Verdict) -> float:
    return verdict.drop if math.isfinite(verdict.drop) else math.inf
