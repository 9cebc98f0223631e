"""Ark, YMIR's text format: `class_index, xmin, ymin, xmax, ymax, quality, rotation`, one box per line."""

import math
from collections.abc import Iterable, Sequence

from lodeworks_formats.annotations.frame import integer_edges
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError

_REQUIRED = 5
_MOST = 7


def parse_ark(text: str, *, class_names: Sequence[str], file: str = "") -> tuple[Box, ...]:
    """Reads an ark file; quality and rotation may be missing. Raises FormatError BAD_ARK with the line."""
    boxes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = [float(part) for part in line.split(",")]
        except ValueError:
            raise FormatError("BAD_ARK", "a line holds something that is no number", file, number) from None
        if not _REQUIRED <= len(fields) <= _MOST or not all(map(math.isfinite, fields)):
            raise FormatError("BAD_ARK", "a line wants class index, four edges, quality and rotation", file, number)
        index = int(fields[0])
        if index != fields[0] or not 0 <= index < len(class_names):
            raise FormatError(
                "BAD_ARK", f"class index {fields[0]:g} is none of the {len(class_names)} classes", file, number
            )
        xmin, ymin, xmax, ymax = fields[1:5]
        quality, rotation = (*fields[5:], *(-1.0, 0.0)[len(fields) - _REQUIRED :])
        if xmax < xmin or ymax < ymin:
            raise FormatError("BAD_ARK", "a box has no area", file, number)
        boxes.append(
            Box(
                class_names[index],
                xmin,
                ymin,
                xmax - xmin + 1,
                ymax - ymin + 1,
                rotation=rotation,
                box_quality=quality if 0.0 <= quality <= 1.0 else None,
            )
        )
    return tuple(boxes)


def render_ark(boxes: Iterable[Box], *, class_names: Sequence[str], width: int, height: int) -> str:
    """Returns the file an executor gets: chosen classes only, matched without case; empty without boxes."""
    indices = {name.casefold(): index for index, name in enumerate(class_names)}
    lines = []
    for box in boxes:
        index = indices.get(box.class_name.casefold())
        if index is None:
            continue
        edges = ", ".join(map(str, (index, *integer_edges(box, width=width, height=height))))
        quality = -1.0 if box.box_quality is None else float(box.box_quality)
        lines.append(f"{edges}, {quality!r}, {float(box.rotation)!r}\n")
    return "".join(lines)
