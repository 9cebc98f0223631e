"""Curves drawn with text: small enough for a terminal, readable without colour."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def columns(values: Sequence[float], width: int) -> list[float]:
    """Returns at most so many values: neighbours become their mean."""
    if len(values) <= width:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]


def chart(values: Sequence[float], *, width: int = 48, height: int = 6) -> list[str]:
    """Draws a series from left to right as bars; returns one text per line, the highest value's first.

    The axis on the left names the largest and the smallest value.
    """
    shown = columns([value for value in values if value == value], width)  # noqa: PLR0124 - without NaN
    if not shown:
        return []
    low, high = min(shown), max(shown)
    span = high - low
    steps = [round((value - low) / span * (height * 8 - 1)) + 1 if span else height * 4 for value in shown]
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"} if span else {height // 2: f"{high:.4g}"}
    lines = []
    for row in range(height):
        floor = (height - 1 - row) * 8
        cells = "".join(_EIGHTHS[max(0, min(8, step - floor))] for step in steps)
        lines.append(f"{labels.get(row, ''):>10} ┤{cells}".rstrip())
    return lines


def sparkline(values: Sequence[float], *, width: int = 16) -> str:
    """Draws a series in one line."""
    shown = columns([value for value in values if value == value], width)  # noqa: PLR0124 - without NaN
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_EIGHTHS[1 + round((value - low) / span * 7)] for value in shown)
