"""The charts of the rounds: each strategy's curve beside random's, and what each gains."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mining_rounds.canvas import Canvas, Colour
from mining_rounds.curves import Curve, Interval, Standing, interval
from mining_rounds.points import CHANCE

INK: Colour = (38, 44, 54)
QUIET: Colour = (118, 126, 138)
GRID: Colour = (232, 235, 240)
CHANCE_INK: Colour = (142, 148, 158)
CHANCE_BAND: Colour = (240, 241, 244)
DEFAULT_INK: Colour = (12, 108, 196)
OTHER_INK: Colour = (200, 98, 36)

_COLUMNS = 4
_PANEL = (300, 250)
_INSET = (52, 40, 14, 34)
"""Of a panel's axes from its left, top, right and bottom."""
_HEAD = 74
_FOOT = 34
_TICKS = (1, 2, 2.5, 5)


def draw_curves(
    path: Path, curves: Mapping[str, Mapping[int, Curve]], standings: Sequence[Standing], *, title: str, default: str
) -> None:
    """Draws a panel for each strategy: its mean curve and random's, with the 95 % intervals over the seeds."""
    names = [default, *(one.strategy for one in standings if one.strategy not in (CHANCE, default))]
    rows = math.ceil(len(names) / _COLUMNS)
    canvas = Canvas(_COLUMNS * _PANEL[0] + 20, _HEAD + rows * _PANEL[1] + _FOOT)
    canvas.text((24, 36), title, INK, size=22, weight=700)
    seeds = len(curves[CHANCE])
    told = f"mAP at IoU 0.5 on the test pictures over labelled pictures; mean of {seeds} seeds, bars: 95 % interval"
    canvas.text((24, 60), told, QUIET)
    means = {name: _by_labels(own) for name, own in curves.items()}
    scale = _Scale(means)
    for place, name in enumerate(names):
        origin = (place % _COLUMNS * _PANEL[0] + 10.0, _HEAD + place // _COLUMNS * _PANEL[1])
        colour = DEFAULT_INK if name == default else OTHER_INK
        _panel(canvas, origin, scale, name=name, own=means[name], chance=means[CHANCE], colour=colour)
    canvas.save(path)


class _Scale:
    """From labels and mAP to pixels within a panel."""

    def __init__(self, means: Mapping[str, Mapping[int, Interval]]) -> None:
        every = [(labels, one) for curve in means.values() for labels, one in curve.items()]
        self.labels = sorted({labels for labels, _ in every})
        low = min(one.mean for _, one in every)
        high = max(one.mean for _, one in every)
        margin = (high - low) * 0.18 or 0.1
        self._low, self._high = max(0.0, low - margin), min(1.0, high + margin)
        self.ticks = _ticks(self._low, self._high, count=5)

    def x(self, labels: float) -> float:
        """Returns pixels from the panel's left edge."""
        left, _, right, _ = _INSET
        share = (labels - self.labels[0]) / (self.labels[-1] - self.labels[0])
        return left + 10 + share * (_PANEL[0] - left - right - 20)

    def y(self, quality: float) -> float:
        """Returns pixels from the panel's upper edge; what is outside is drawn at the edge."""
        _, top, _, bottom = _INSET
        share = (min(max(quality, self._low), self._high) - self._low) / (self._high - self._low)
        return _PANEL[1] - bottom - share * (_PANEL[1] - top - bottom)


def _panel(
    canvas: Canvas,
    origin: tuple[float, float],
    scale: _Scale,
    *,
    name: str,
    own: Mapping[int, Interval],
    chance: Mapping[int, Interval],
    colour: Colour,
) -> None:
    left, top = origin
    for tick in scale.ticks:
        y = top + scale.y(tick)
        canvas.line([(left + _INSET[0], y), (left + _PANEL[0] - _INSET[2], y)], GRID)
        canvas.text((left + _INSET[0] - 8, y + 4), f"{tick:.2f}", QUIET, size=12, align="right")
    for labels in scale.labels:
        canvas.text(
            (left + scale.x(labels), top + _PANEL[1] - _INSET[3] + 18), str(labels), QUIET, size=12, align="middle"
        )
    canvas.text((left + _INSET[0], top + 22), name, colour, size=16, weight=700)
    canvas.text((left + _PANEL[0] - _INSET[2], top + 22), "grey: random", CHANCE_INK, size=12, align="right")
    for curve, ink, shift in ((chance, CHANCE_INK, -2.0), (own, colour, 2.0)):
        points = [(left + scale.x(labels) + shift, one) for labels, one in sorted(curve.items())]
        canvas.line([(x, top + scale.y(one.mean)) for x, one in points], ink, width=2.5)
        for x, one in points:
            if math.isfinite(one.half):
                canvas.bar((x, top + scale.y(one.low)), (x, top + scale.y(one.high)), ink)
            canvas.dot((x, top + scale.y(one.mean)), ink)


def draw_gains(path: Path, standings: Sequence[Standing], *, title: str, default: str) -> None:
    """Draws what each strategy's curve lies above random's on average, with its 95 % interval."""
    shown = [one for one in standings if one.strategy != CHANCE]
    width, row, left, right = 880, 34, 190, 150
    canvas = Canvas(width, 110 + row * len(shown) + 40)
    canvas.text((24, 36), title, INK, size=22, weight=700)
    canvas.text((24, 60), "mAP gained over random, mean over the curve; bar: 95 % interval over the seeds", QUIET)
    ends = [end for one in shown for end in (one.gain.low, one.gain.high) if math.isfinite(end)]
    ends = ends or [one.gain.mean for one in shown]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / span * (width - left - right)

    bottom = 96 + row * len(shown)
    for tick in _ticks(low, high, count=6):
        canvas.line([(x(tick), 84), (x(tick), bottom)], QUIET if tick == 0 else GRID)
        canvas.text((x(tick), bottom + 20), f"{tick:+.2f}" if tick else "random", QUIET, size=12, align="middle")
    canvas.text((width - 24, 80), "random's last mAP with … of its labels", QUIET, size=12, align="right")
    for place, one in enumerate(shown):
        y = 108.0 + row * place
        colour = DEFAULT_INK if one.strategy == default else OTHER_INK
        canvas.text((left - 16, y + 5), one.strategy, colour, size=15, weight=600, align="right")
        if math.isfinite(one.gain.half):
            canvas.bar((x(one.gain.low), y), (x(one.gain.high), y), colour)
        canvas.dot((x(one.gain.mean), y), colour, radius=5)
        share = "more than all" if one.share is None else f"{one.share:.0%}"
        canvas.text((width - 24, y + 5), share, INK, size=14, align="right")
    canvas.save(path)


def _by_labels(curves: Mapping[int, Curve]) -> dict[int, Interval]:
    shared = set.intersection(*(set(curve) for curve in curves.values()))
    return {labels: interval([curve[labels] for curve in curves.values()]) for labels in sorted(shared)}


def _ticks(low: float, high: float, *, count: int) -> list[float]:
    """Returns at most about so many round values between two ends."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in _TICKS if factor * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]
