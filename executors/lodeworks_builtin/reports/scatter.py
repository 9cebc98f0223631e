"""A scatter chart as inline SVG: points over two measured axes, their labels beside the chart so that none collide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 760, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 18, 44
_TICKS = 5
_COLOURS = 8
_MARGIN = 0.08
_LABEL_GAP = 17.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Point:
    """One labelled point and which of the page's series colours it wears."""

    label: str
    x: float
    y: float
    colour: int


def scatter_chart(points: Sequence[Point], *, x_title: str, y_title: str) -> str:
    """Returns the chart; the horizontal axis begins at 0, the vertical one spans what there is."""
    x_axis = _Axis(0.0, max((point.x for point in points), default=1.0) * (1 + _MARGIN), _LEFT, _WIDTH - _RIGHT)
    low, high = min((point.y for point in points), default=0.0), max((point.y for point in points), default=1.0)
    spread = max(high - low, 0.02)
    y_axis = _Axis(max(0.0, low - spread * 0.5), high + spread * 0.3, _HEIGHT - _BOTTOM, _TOP)
    grid = "".join(_row(tick, y_axis) for tick in y_axis.ticks())
    grid += "".join(_column(tick, x_axis) for tick in x_axis.ticks())
    dots = "".join(
        _dot(point, x=x_axis.at(point.x), y=y_axis.at(point.y), label_y=label_y)
        for point, label_y in _with_labels(points, y_axis)
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} over {escape(x_title)}">{grid}'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'{dots}<text class="title" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f'{escape(x_title)}</text><text class="title" transform="translate(14 {(_TOP + _HEIGHT - _BOTTOM) / 2}) '
        f'rotate(-90)" text-anchor="middle">{escape(y_title)}</text></svg></figure>'
    )


def _with_labels(points: Sequence[Point], axis: _Axis) -> list[tuple[Point, float]]:
    """Returns the points from the top with the height of each label: near its point, but clear of the one above."""
    placed: list[tuple[Point, float]] = []
    floor = float(_TOP)
    for point in sorted(points, key=lambda one: (axis.at(one.y), -one.x)):
        label_y = max(axis.at(point.y), floor)
        placed.append((point, label_y))
        floor = label_y + _LABEL_GAP
    return placed


def _row(tick: float, axis: _Axis) -> str:
    y = axis.at(tick)
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>'
    )


def _column(tick: float, axis: _Axis) -> str:
    y = _HEIGHT - _BOTTOM + 18
    return f'<text class="tick" x="{axis.at(tick):.1f}" y="{y}" text-anchor="middle">{tick:g}</text>'


def _dot(point: Point, *, x: float, y: float, label_y: float) -> str:
    label = escape(point.label)
    edge = _WIDTH - _RIGHT + 12
    return (
        f'<g class="s{point.colour % _COLOURS}">'
        f'<polyline class="leader" points="{x:.1f},{y:.1f} {edge - 6:.1f},{y:.1f} {edge:.1f},{label_y:.1f}"/>'
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="6">'
        f"<title>{label}: {point.x:.2f}, {point.y:.4f}</title></circle>"
        f'<circle class="dot" cx="{edge + 4:.1f}" cy="{label_y:.1f}" r="4"/>'
        f'<text class="label" x="{edge + 13:.1f}" y="{label_y + 4:.1f}">{label}</text></g>'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Returns round values between the ends, about five."""
        rough = (self.high - self.low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in _STEPS if factor * unit >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]
