"""The statistics of the rounds: areas under curves, intervals over seeds, labels that a quality costs."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t at 97.5 % for 1, 2, … degrees of freedom."""
_NORMAL_95 = 1.96

Curve = Mapping[int, float]
"""mAP by labelled pictures."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with the half width of its 95 % interval (Student's t; infinite for a single seed)."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half:.3f}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a strategy stands on one set.

    Attributes:
        area: Mean height of the curve: the area under it, divided by its width.
        gain: Area minus random's, seed by seed.
        final: mAP after the last round.
        labels: Labelled pictures at which the mean curve reaches random's last mAP; None where it does not.
        share: The same as a part of random's labels.
        processor_ms: Processor time of mining one picture.
    """

    strategy: str
    area: Interval
    gain: Interval
    final: Interval
    labels: float | None
    share: float | None
    processor_ms: float


def interval(values: Sequence[float]) -> Interval:
    """Returns the mean of independent values with its 95 % interval."""
    mean = statistics.fmean(values)
    degrees = len(values) - 1
    if not degrees:
        return Interval(mean, math.inf)
    t = _T_95[degrees - 1] if degrees <= len(_T_95) else _NORMAL_95
    return Interval(mean, t * statistics.stdev(values) / math.sqrt(len(values)))


def area(curve: Curve) -> float:
    """Returns the mean height of a curve of straight pieces; raises ValueError for fewer than two points."""
    points = sorted(curve.items())
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        raise ValueError("an area needs two points or more")
    pieces = itertools.pairwise(points)
    return sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pieces) / (points[-1][0] - points[0][0])


def mean_curve(curves: Sequence[Curve]) -> dict[int, float]:
    """Returns the mean of curves at the labels that all of them have."""
    shared = set(curves[0]).intersection(*curves)
    return {labels: statistics.fmean(curve[labels] for curve in curves) for labels in sorted(shared)}


def labels_for(curve: Curve, quality: float) -> float | None:
    """Returns where a curve of straight pieces first reaches a quality; None where it never does."""
    points = sorted(curve.items())
    if points[0][1] >= quality:
        return float(points[0][0])
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        if y2 >= quality:
            return x1 + (x2 - x1) * (quality - y1) / (y2 - y1)
    return None


def standing(
    strategy: str, curves: Mapping[int, Curve], *, chance: Mapping[int, Curve], processor_ms: float
) -> Standing:
    """Returns how a strategy stands beside random; both by seed, compared on the seeds that both have."""
    seeds = sorted(set(curves) & set(chance))
    last = max(mean_curve([chance[seed] for seed in seeds]).items())
    labels = labels_for(mean_curve([curves[seed] for seed in seeds]), last[1])
    return Standing(
        strategy=strategy,
        area=interval([area(curves[seed]) for seed in seeds]),
        gain=interval([area(curves[seed]) - area(chance[seed]) for seed in seeds]),
        final=interval([curves[seed][last[0]] for seed in seeds]),
        labels=labels,
        share=None if labels is None else labels / last[0],
        processor_ms=processor_ms,
    )
