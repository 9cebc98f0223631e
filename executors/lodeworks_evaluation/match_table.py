"""The match table: every box of an evaluation with its links, kept so that no question needs matching again.

Rows are all ground truth, then all predictions (each sorted by picture and class; predictions by falling score). Row
numbers are the links: `match_50` … `match_95` name the box on the other side at that IoU (−1 nobody, −2 out of the
count: a crowd, or beyond the 100 best), `same_row` and `other_row` of a prediction the ground truth it overlaps most,
of its own class and of another one.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lodeworks_evaluation.matching import COCO_IOUS, Matching

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lodeworks_evaluation.columns import Columns

TRUTH, PREDICTION = 0, 1
MATCH_COLUMNS: tuple[str, ...] = tuple(f"match_{round(100 * float(iou))}" for iou in COCO_IOUS)
_KIND = b"lodeworks.kind"
_ABOUT = b"lodeworks.about"
_SCHEMA = pa.schema(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("kind", pa.int8(), nullable=False),
        pa.field("class_index", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("w", pa.float32(), nullable=False),
        pa.field("h", pa.float32(), nullable=False),
        pa.field("crowd", pa.bool_(), nullable=False),
        pa.field("same_row", pa.int32(), nullable=False),
        pa.field("same_iou", pa.float32(), nullable=False),
        pa.field("other_row", pa.int32(), nullable=False),
        pa.field("other_iou", pa.float32(), nullable=False),
        *(pa.field(name, pa.int32(), nullable=False) for name in MATCH_COLUMNS),
    ]
)


def match_table(columns: Columns, matching: Matching) -> pa.Table:
    """Lays the boxes and their links out as one table, with class names and number of pictures in its metadata."""
    truths, predictions = columns.truths, columns.predictions
    count = len(truths)
    nobody = np.full(count, -1, np.int64)
    position = np.concatenate([truths.picture, predictions.picture])
    digests = pa.array([bytes.fromhex(digest) for digest in columns.digests], pa.binary(32))
    xywh = np.concatenate([truths.xywh, predictions.xywh]).astype(np.float32)
    links = np.concatenate([_shifted(matching.truth_match, count), matching.prediction_match], axis=1)
    values = [
        digests.take(pa.array(position)),
        pa.array(columns.extensions, pa.string()).take(pa.array(position)),
        np.repeat(np.array([TRUTH, PREDICTION], np.int8), [count, len(predictions)]),
        np.concatenate([truths.class_index, predictions.class_index]),
        np.concatenate([truths.score, predictions.score]),
        *xywh.T.copy(),
        np.concatenate([truths.crowd, predictions.crowd]),
        np.concatenate([nobody, matching.same_row]),
        np.concatenate([np.zeros(count), matching.same_iou]),
        np.concatenate([nobody, matching.other_row]),
        np.concatenate([np.zeros(count), matching.other_iou]),
        *links,
    ]
    about = {"class_names": columns.class_names, "pictures": len(columns.digests)}
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value).cast(field.type, safe=False)
        for value, field in zip(values, _SCHEMA, strict=True)
    ]
    metadata = {_KIND: b"match_table", _ABOUT: json.dumps(about, sort_keys=True).encode()}
    return pa.Table.from_arrays(arrays, schema=_SCHEMA.with_metadata(metadata))


def _shifted(links: NDArray[np.int64], by: int) -> NDArray[np.int64]:
    """Turns rows among the predictions into rows of the table; −1 and −2 stay."""
    return np.where(links >= 0, links + by, links)


def write_match_table(target: Path | BinaryIO, table: pa.Table) -> None:
    """Writes the table as Parquet; the same table gives the same bytes."""
    pq.write_table(
        table,
        target,
        compression="zstd",
        use_dictionary=["digest", "extension"],
        store_schema=True,
        write_statistics=False,
    )


def read_match_table(source: Path | bytes, *, columns: tuple[str, ...] | None = None) -> pa.Table:
    """Reads the table or the named columns of it; refuses a file that is something else with ValueError."""
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        table = pq.read_table(opened, columns=None if columns is None else list(columns))
    except pa.ArrowInvalid as error:
        raise ValueError(f"this is not a match table: {error}") from error
    if (table.schema.metadata or {}).get(_KIND) != b"match_table":
        raise ValueError("this is not a match table: its metadata does not say so")
    return table


def class_names_of(table: pa.Table) -> tuple[str, ...]:
    """Returns the classes that the evaluation was asked for, in its order."""
    return tuple(json.loads(table.schema.metadata[_ABOUT])["class_names"])


def picture_count_of(table: pa.Table) -> int:
    """Returns the number of pictures evaluated, those without any box included."""
    return int(json.loads(table.schema.metadata[_ABOUT])["pictures"])
