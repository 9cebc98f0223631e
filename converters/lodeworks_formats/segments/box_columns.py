"""Lists of boxes as Arrow columns and back; column by column, since row by row is ten times slower."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import canonical_json

_strings = pa.list_(pa.field("element", pa.string(), nullable=False))

BOX_TYPE = pa.struct(
    [
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("w", pa.float32(), nullable=False),
        pa.field("h", pa.float32(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("rotation", pa.float32(), nullable=False),
        pa.field("box_quality", pa.float32()),
        pa.field("tags", _strings, nullable=False),
        pa.field("attributes", pa.string()),
        pa.field("crowd", pa.bool_(), nullable=False),
        pa.field("difficult", pa.bool_(), nullable=False),
        pa.field("shape", pa.string()),
    ]
)
"""One box; attributes are canonical JSON, null when there are none."""


def boxes_array(rows: Sequence[tuple[Box, ...] | None], *, kind: Any) -> Any:
    """Returns a list array of the given list type, one entry per row, null where the row is None."""
    flat = [box for row in rows if row for box in row]
    offsets, position = [0], 0
    for row in rows:
        position += len(row or ())
        offsets.append(position)
    values = pa.StructArray.from_arrays(
        [
            pa.array([box.class_name for box in flat], pa.string()),
            pa.array([box.x for box in flat], pa.float32()),
            pa.array([box.y for box in flat], pa.float32()),
            pa.array([box.w for box in flat], pa.float32()),
            pa.array([box.h for box in flat], pa.float32()),
            pa.array([box.score for box in flat], pa.float32()),
            pa.array([box.rotation for box in flat], pa.float32()),
            pa.array([box.box_quality for box in flat], pa.float32()),
            pa.array([box.tags for box in flat], _strings),
            pa.array([_attributes(box) for box in flat], pa.string()),
            pa.array([box.crowd for box in flat], pa.bool_()),
            pa.array([box.difficult for box in flat], pa.bool_()),
            pa.array([box.shape for box in flat], pa.string()),
        ],
        fields=list(BOX_TYPE),
    )
    mask = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=mask)


def box_lists(column: Any) -> list[tuple[Box, ...] | None]:
    """Returns what boxes_array was made of."""
    flat = column.flatten()
    columns = [flat.field(index).to_pylist() for index in range(flat.type.num_fields)]
    boxes = [
        Box(name, x, y, w, h, score, rotation, quality, tuple(tags), json.loads(extra) if extra else {}, *rest)
        for name, x, y, w, h, score, rotation, quality, tags, extra, *rest in zip(*columns, strict=True)
    ]
    lists: list[tuple[Box, ...] | None] = []
    position = 0
    for length in column.value_lengths().to_pylist():
        if length is None:
            lists.append(None)
            continue
        lists.append(tuple(boxes[position : position + length]))
        position += length
    return lists


def _attributes(box: Box) -> str | None:
    return canonical_json(dict(box.attributes)).decode() if box.attributes else None
