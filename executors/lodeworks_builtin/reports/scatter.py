"""A scatter chart as inline SVG: labelled points over two measured axes."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 18, 44
_TICKS = 5
_COLOURS = 8
_MARGIN = 0.08


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
    dots = "".join(_dot(point, x_axis, y_axis) for point in points)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} over {escape(x_title)}">{grid}'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'{dots}<text class="title" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f'{escape(x_title)}</text><text class="title" transform="translate(14 {(_TOP + _HEIGHT - _BOTTOM) / 2}) '
        f'rotate(-90)" text-anchor="middle">{escape(y_title)}</text></svg></figure>'
    )


def _row(tick: float, axis: _Axis) -> str:
    y = axis.at(tick)
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.3f}</text>'
    )


def _column(tick: float, axis: _Axis) -> str:
    y = _HEIGHT - _BOTTOM + 18
    return f'<text class="tick" x="{axis.at(tick):.1f}" y="{y}" text-anchor="middle">{tick:.1f}</text>'


def _dot(point: Point, x_axis: _Axis, y_axis: _Axis) -> str:
    x, y = x_axis.at(point.x), y_axis.at(point.y)
    label = escape(point.label)
    return (
        f'<g class="s{point.colour % _COLOURS}"><circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="6">'
        f"<title>{label}: {point.x:.2f}, {point.y:.4f}</title></circle>"
        f'<text class="label" x="{x + 10:.1f}" y="{y + 4:.1f}">{label}</text></g>'
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
        return [self.low + (self.high - self.low) * step / (_TICKS - 1) for step in range(_TICKS)]
