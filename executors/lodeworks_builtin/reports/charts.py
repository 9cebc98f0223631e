"""Charts as inline SVG: drawn from numbers, coloured by the page's own variables, readable without script."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SERIES_COLOURS = 8
_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 34
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAX_POINTS = 240


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: points (x, y) between 0 and 1, and which of the page's series colours it wears."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int


def line_chart(lines: Sequence[Line], *, x_title: str, y_title: str, label: str) -> str:
    """Returns a chart of lines over the unit square, with a legend beneath when there is more than one."""
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(tick)}" y2="{_y(tick)}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{_y(tick) + 3.5}" text-anchor="end">{tick:g}</text>'
        f'<text class="tick" x="{_x(tick)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>'
        for tick in _TICKS
    )
    drawn = "".join(
        f'<polyline class="series s{line.colour}" points="{_path(line.points)}"><title>{escape(line.label)}</title>'
        "</polyline>"
        for line in lines
    )
    legend = "".join(f'<span><i class="s{line.colour}"></i>{escape(line.label)}</span>' for line in lines)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{grid}'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(0)}" y2="{_y(0)}"/>{drawn}'
        f'<text class="title" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 2}" text-anchor="middle">'
        f"{escape(x_title)}</text>"
        f'<text class="title" transform="translate(10 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_title)}</text></svg>'
        + (f'<figcaption class="legend">{legend}</figcaption>' if len(lines) > 1 else "")
        + "</figure>"
    )


def bar(share: float) -> str:
    """Returns a thin bar for a share between 0 and 1, to stand beside its number in a table."""
    return f'<span class="bar"><b style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></b></span>'


def heat_table(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Returns a confusion matrix as a table: rows are what it was, columns what it was taken for."""
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    rows = []
    for row_index, (label, row) in enumerate(zip(labels, counts, strict=True)):
        total = sum(row) or 1
        cells = "".join(
            _heat_cell(count, share=count / total, right=row_index == column_index)
            for column_index, count in enumerate(row)
        )
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return (
        '<div class="wide"><table class="heat"><thead><tr><th class="corner">was ↓ &nbsp; taken for →</th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat_cell(count: int, *, share: float, right: bool) -> str:
    if not count:
        return '<td class="none">·</td>'
    strength = 12 + 76 * share
    tone = "right" if right else "wrong"
    strong = " strong" if strength > 55 else ""  # noqa: PLR2004 - from here on, white text is the readable one
    return f'<td class="{tone}{strong}" style="--k:{strength:.0f}%">{count:,}</td>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    step = max(1, len(points) // _MAX_POINTS)
    kept = [*points[::step], *points[-1:]]
    return " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in kept)


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)
