"""Segments that are written as their rows come: the same bytes as at once, and counts that never part a record."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_controller.storage.segments.arrival import counts_of
from lodeworks_controller.storage.segments.written import Writer
from lodeworks_formats.segments import BOXES_SCHEMA, COUNTS_SCHEMA, raw_classes_of

ROWS, PER_RECORD = 40_000, 7  # a record lies across row groups
NAMES = {1: "RBC", 2: "WBC", 3: "Platelets"}


def _boxes() -> Any:
    """Returns boxes of records of seven, whose raw classes are 1 and 2 in turn."""
    place = np.arange(ROWS)
    columns = {"rec": 100 + place // PER_RECORD, "rid": 1 + place % 2}
    empty = {"tags": [[]] * ROWS, "crowd": np.zeros(ROWS, np.bool_), "difficult": np.zeros(ROWS, np.bool_)}
    for field in BOXES_SCHEMA:
        if field.name not in columns:
            values = empty.get(field.name, None if field.nullable else np.ones(ROWS))
            columns[field.name] = pa.nulls(ROWS, field.type) if values is None else pa.array(values, field.type)
    return pa.table([columns[name] for name in BOXES_SCHEMA.names], BOXES_SCHEMA.names).cast(BOXES_SCHEMA)


def test_rows_that_come_in_parts_are_written_as_at_once(tmp_path: Path) -> None:
    boxes, writer = _boxes(), Writer(tmp_path, class_names=NAMES)
    whole = writer.write("boxes", boxes)
    cuts = [0, 1, 9, 16_384, 16_390, ROWS]
    (parts,) = writer.write_parts("boxes", [boxes.slice(a, b - a) for a, b in itertools.pairwise(cuts)], rows=ROWS)
    assert parts.ref == whole.ref
    assert (whole.ref.rows, whole.ref.first_id, whole.ref.last_id) == (ROWS, 100, 100 + (ROWS - 1) // PER_RECORD)
    assert raw_classes_of(Path(parts.path)) == {1: "RBC", 2: "WBC"}
    few = writer.write_parts("boxes", [boxes.slice(0, 700), boxes.slice(700, 700), boxes.slice(1400, 7)], rows=1000)
    assert [part.ref.rows for part in few] == [1400, 7]


def test_counts_never_part_a_record(tmp_path: Path) -> None:
    boxes, writer = _boxes(), Writer(tmp_path, class_names=NAMES)
    cut = 20_003  # within a record, as a segment of a foreign hand may end
    tables = [boxes.slice(0, cut), boxes.slice(cut)]
    counts = pa.concat_tables(counts_of([writer.write("boxes", table) for table in tables]))
    assert counts.schema.equals(COUNTS_SCHEMA)
    expected = (
        boxes.group_by(["rec", "rid"])
        .aggregate([([], "count_all")])
        .sort_by([("rec", "ascending"), ("rid", "ascending")])
    )
    assert counts.to_pydict() == dict(zip(("rec", "rid", "n"), expected.to_pydict().values(), strict=True))
