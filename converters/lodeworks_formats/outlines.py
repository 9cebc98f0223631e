"""Outlines of segmented objects as COCO writes them: polygons, or run lengths of a mask (RLE).

A `Box.shape` is such an outline as JSON text:

    [[x, y, x, y, …], …]                                       polygons, in pixels
    {"size": [height, width], "counts": [number, …] | "text"}  runs of pixels, column by column, background first

What others call:

    check_outline(raw) raises FormatError BAD_SHAPE        outline_edges(raw) -> (x, y, w, h)
    scale_outline(text, factor_x=, factor_y=) -> text      turn_mask(raw, flip_x=, flip_y=, transpose=) -> text
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from lodeworks_formats.errors import FormatError

MAX_MASK_PIXELS = 200_000_000
"""Pixels of the largest mask that is taken in."""

MAX_MASK_SIDE = 100_000
"""Pixels of its longest side: rows and columns are held one by one."""

_FIRST = 48
_BITS, _MORE, _SIGN = 5, 0x20, 0x10
_LEAST_NUMBERS = 6
_LONGEST_NUMBER = 8


@dataclass(frozen=True, slots=True)
class Mask:
    """Run lengths of a mask: background and object in turn, column by column."""

    height: int
    width: int
    counts: tuple[int, ...]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yields first and last + 1 of the object's runs, counted down the columns."""
        ends = list(accumulate(self.counts))
        for index in range(1, len(ends), 2):
            if ends[index] > ends[index - 1]:
                yield ends[index - 1], ends[index]

    def columns(self) -> list[list[tuple[int, int]]]:
        """Returns, of each column, the object's runs as first row and last row + 1."""
        columns: list[list[tuple[int, int]]] = [[] for _ in range(self.width)]
        for first, end in self.runs():
            for column in range(first // self.height, (end - 1) // self.height + 1):
                top = column * self.height
                columns[column].append((max(first, top) - top, min(end, top + self.height) - top))
        return columns


def check_outline(raw: Any) -> None:
    """Raises FormatError BAD_SHAPE unless a value is polygons or the run lengths of a mask."""
    if isinstance(raw, dict):
        read_mask(raw)
        return
    if not isinstance(raw, list) or not raw:
        raise _bad("an outline is a list of polygons, or run lengths with 'size' and 'counts'")
    for polygon in raw:
        numbers = polygon if isinstance(polygon, list) else []
        if len(numbers) < _LEAST_NUMBERS or len(numbers) % 2 or not all(map(_is_number, numbers)):
            raise _bad("a polygon is x, y, x, y, … of at least three points")


def read_mask(raw: Any) -> Mask:
    """Returns the mask that run lengths describe, plain or compressed; raises FormatError BAD_SHAPE."""
    size = raw.get("size") if isinstance(raw, dict) else None
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):  # noqa: PLR2004 — height and width
        raise _bad("run lengths want a size of two whole numbers, height and width")
    height, width = size
    if height * width > MAX_MASK_PIXELS or max(height, width) > MAX_MASK_SIDE:
        raise _bad(f"a mask has more than {MAX_MASK_PIXELS:,} pixels, or more than {MAX_MASK_SIDE:,} on a side")
    counts = raw.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise _bad("counts are whole numbers from 0 on, or a text")
    if sum(counts) != height * width:
        raise _bad(f"the counts cover {sum(counts)} pixels, the size says {height} x {width}")
    return Mask(height, width, tuple(counts))


def outline_edges(raw: Any) -> tuple[float, float, float, float]:
    """Returns x, y, w, h of the box around an outline; raises FormatError BAD_SHAPE for a broken or empty one."""
    check_outline(raw)
    if isinstance(raw, list):
        columns = [float(value) for polygon in raw for value in polygon[0::2]]
        rows = [float(value) for polygon in raw for value in polygon[1::2]]
        return min(columns), min(rows), max(columns) - min(columns), max(rows) - min(rows)
    filled = [(column, runs) for column, runs in enumerate(read_mask(raw).columns()) if runs]
    if not filled:
        raise _bad("the mask holds no pixel of the object")
    left, right = filled[0][0], filled[-1][0] + 1
    upper, lower = min(runs[0][0] for _, runs in filled), max(runs[-1][1] for _, runs in filled)
    return float(left), float(upper), float(right - left), float(lower - upper)


def scale_outline(text: str, *, factor_x: float, factor_y: float) -> str:
    """Returns an outline in a frame resized by these factors; masks take the nearest pixel.

    Raises:
        FormatError: BAD_SHAPE.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("the text is no JSON") from error
    check_outline(raw)
    if isinstance(raw, list):
        factors = (factor_x, factor_y)
        scaled: Any = [[value * factors[place % 2] for place, value in enumerate(polygon)] for polygon in raw]
        return json.dumps(scaled, separators=(",", ":"))
    mask = _resized(read_mask(raw), factor_x=factor_x, factor_y=factor_y)
    return _written(mask, like=raw)


def turn_mask(raw: Any, *, flip_x: bool, flip_y: bool, transpose: bool) -> str:
    """Returns run lengths of the mask flipped, then transposed, in their own form; raises FormatError BAD_SHAPE."""
    mask = read_mask(raw)
    columns = mask.columns()
    if flip_x:
        columns.reverse()
    if flip_y:
        columns = [[(mask.height - end, mask.height - first) for first, end in reversed(runs)] for runs in columns]
    if not transpose:
        return _written(_of_columns(columns, height=mask.height), like=raw)
    rows: list[list[tuple[int, int]]] = [[] for _ in range(mask.height)]
    for column, runs in enumerate(columns):
        for first, end in runs:
            for row in rows[first:end]:
                if row and row[-1][1] == column:
                    row[-1] = (row[-1][0], column + 1)
                else:
                    row.append((column, column + 1))
    return _written(_of_columns(rows, height=mask.width), like=raw)


def _resized(mask: Mask, *, factor_x: float, factor_y: float) -> Mask:
    width, height = max(1, round(mask.width * factor_x)), max(1, round(mask.height * factor_y))
    ratio_x, ratio_y = mask.width / width, height / mask.height
    # The rows whose middle falls into a run.
    columns = [
        [(math.ceil(first * ratio_y - 0.5), math.ceil(end * ratio_y - 0.5)) for first, end in runs]
        for runs in mask.columns()
    ]
    chosen = [columns[min(mask.width - 1, int((column + 0.5) * ratio_x))] for column in range(width)]
    return _of_columns(chosen, height=height)


def _of_columns(columns: Sequence[Sequence[tuple[int, int]]], *, height: int) -> Mask:
    """Returns the mask whose columns hold these runs of rows, in their order."""
    runs: list[tuple[int, int]] = []
    for column, found in enumerate(columns):
        for first, end in found:
            begin, behind = column * height + first, column * height + end
            if runs and runs[-1][1] == begin:
                runs[-1] = (runs[-1][0], behind)
            elif behind > begin:
                runs.append((begin, behind))
    counts, place = [], 0
    for begin, behind in runs:
        counts += [begin - place, behind - begin]
        place = behind
    return Mask(height, len(columns), (*counts, len(columns) * height - place))


def _written(mask: Mask, *, like: Any) -> str:
    """Returns a mask as text, compressed if the given one is."""
    counts: Any = _compressed(mask.counts) if isinstance(like["counts"], str) else list(mask.counts)
    return json.dumps({"size": [mask.height, mask.width], "counts": counts}, separators=(",", ":"))


def _decompressed(text: str) -> list[int]:
    """Reads the compressed form: numbers in base 32, from the third on as differences to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - _FIRST
        if not 0 <= code < _MORE * 2 or shift >= _LONGEST_NUMBER:
            raise _bad("the text of the counts is broken")
        value |= (code & (_MORE - 1)) << _BITS * shift
        shift += 1
        if code & _MORE:
            continue
        if code & _SIGN:
            value |= -1 << _BITS * shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))  # noqa: PLR2004 — the format's rule
        value = shift = 0
    if shift:
        raise _bad("the text of the counts ends within a number")
    return counts


def _compressed(counts: Sequence[int]) -> str:
    letters = []
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)  # noqa: PLR2004 — the format's rule
        more = True
        while more:
            code = value & (_MORE - 1)
            value >>= _BITS
            more = value != (-1 if code & _SIGN else 0)
            letters.append(chr((code | (_MORE if more else 0)) + _FIRST))
    return "".join(letters)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bad(message: str) -> FormatError:
    return FormatError("BAD_SHAPE", message)
