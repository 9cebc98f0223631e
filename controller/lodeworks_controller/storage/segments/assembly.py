"""Members put together into pictures: assets, names, boxes with resolved class names, in the columns of a view."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_formats.segments import BOX_TYPE, PICTURES_SCHEMA
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import ASSETS, BOXES, PROVENANCE, RECORDS
from lodeworks_controller.storage.segments.job_types import Source
from lodeworks_controller.storage.segments.reading import Ids, IdSet, ids_of, ids_or_none, rows_of

SPLIT_TAG = "split:"
"""A member's tag that begins so names the part of a split that its source put it in."""

_BOX_COLUMNS = [field.name for field in BOX_TYPE if field.name != "class_name"]
_LISTS = PICTURES_SCHEMA.field("boxes").type
_STRINGS = PICTURES_SCHEMA.field("names").type


def assemble(
    members: Any,
    *,
    source: Source,
    classes: Mapping[int, str],
    predictions: Source | None = None,
) -> Any:
    """Returns members as pictures, in their order.

    Args:
        members: Arrow table (aid, rec, tags), sorted by aid; not empty.
        source: Segments that the members point into.
        classes: rid → class name; boxes of other raw classes are left out.
        predictions: A prediction set whose boxes go beside, if one is wanted.
    """
    aids = ids_of(members.column("aid"))
    assets = _assets(source, aids)
    tags = members.column("tags").combine_chunks()
    columns = {
        "digest": assets.column("digest"),
        "extension": assets.column("format"),
        "width": assets.column("width"),
        "height": assets.column("height"),
        "orientation": assets.column("orientation"),
        "channels": assets.column("channels"),
        "size_bytes": assets.column("size_bytes"),
        "names": _names_of(source, aids),
        "tags": _plain_tags(tags),
        "split": _splits(tags),
        "derived_digest": assets.column("derived_digest"),
        "boxes": box_lists_of(ids_or_none(members.column("rec")), source=source, classes=classes),
        "predictions": pa.nulls(len(aids), _LISTS),
    }
    if predictions is not None:
        recs = prediction_records(predictions, aids)
        columns["predictions"] = box_lists_of(recs, source=predictions, classes=classes)
    return pa.table(columns).cast(PICTURES_SCHEMA)


def chunks(members: Any, size: int) -> Iterator[Any]:
    """Yields the members in slices."""
    for start in range(0, members.num_rows, size):
        yield members.slice(start, size).combine_chunks()


def _assets(source: Source, aids: Ids) -> Any:
    found = rows_of((source,), ASSETS, aids)
    if not np.array_equal(ids_of(found.column("aid")), aids):
        raise RuntimeError(f"{len(aids)} members point to {found.num_rows} assets: a segment is missing or damaged")
    return found


def _names_of(source: Source, aids: Ids) -> Any:
    """Returns the original names of each picture, each once, in order."""
    rows = rows_of((source,), PROVENANCE, aids, columns=["aid", "name"])
    held = ids_of(rows.column("aid"))
    if not np.array_equal(held, aids):  # some picture came under several names, or under none
        rows = rows.group_by(["aid", "name"]).aggregate([]).sort_by([("aid", "ascending"), ("name", "ascending")])
        held = ids_of(rows.column("aid"))
    ends = np.searchsorted(held, aids, side="right")
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), rows.column("name").combine_chunks()).cast(_STRINGS)


def prediction_records(source: Source, aids: Ids) -> Ids:
    """Returns for each picture its newest record in a prediction set, -1 where there is none."""
    rows = rows_of((source,), RECORDS, aids).sort_by([("aid", "ascending"), ("rec", "ascending")])
    held, recs = ids_of(rows.column("aid")), ids_of(rows.column("rec"))
    last = np.searchsorted(held, aids, side="right") - 1
    if not len(held):
        return np.full(len(aids), -1, dtype=np.int64)
    return np.where((last >= 0) & (held[last] == aids), recs[last], -1)


def box_lists_of(recs: Ids, *, source: Source, classes: Mapping[int, str]) -> Any:
    """Returns one list of boxes per record, in the record's own order; null where the record is none (-1)."""
    boxes = rows_of((source,), BOXES, np.sort(recs[recs >= 0]), columns=["rec", "rid", *_BOX_COLUMNS])
    known = IdSet(np.array(sorted(classes), dtype=np.int64))
    shown = known.contains(ids_of(boxes.column("rid")))
    held: Ids = ids_of(boxes.column("rec"))
    if not shown.all():
        boxes, held = boxes.filter(pa.array(shown)), held[shown]
    starts = np.searchsorted(held, recs, side="left")
    lengths = np.where(recs < 0, 0, np.searchsorted(held, recs, side="right") - starts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    places = _ranges(starts, lengths, offsets)
    if not np.array_equal(places, np.arange(boxes.num_rows)):
        boxes = boxes.take(pa.array(places))
    struct = pa.StructArray.from_arrays(
        [
            _names(boxes.column("rid"), classes),
            *(_column(boxes.column(name), name) for name in _BOX_COLUMNS),
        ],
        fields=list(BOX_TYPE),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=_LISTS, mask=pa.array(recs < 0))


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64], offsets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns start, start + 1, … of every run, one run behind the other."""
    shift = np.repeat(starts - offsets[:-1], lengths)
    return np.asarray(np.arange(offsets[-1]) + shift, dtype=np.int64)


def _names(rids: Any, classes: Mapping[int, str]) -> Any:
    known = np.array(sorted(classes), dtype=np.int64)
    places = np.searchsorted(known, rids.to_numpy())
    return pa.array([classes[rid] for rid in known.tolist()], pa.string()).take(pa.array(places))


def _column(column: Any, name: str) -> Any:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.cast(BOX_TYPE.field(name).type)


def _plain_tags(tags: Any) -> Any:
    if not len(tags.flatten()):
        return tags.cast(_STRINGS)
    plain = [[tag for tag in row if not tag.startswith(SPLIT_TAG)] for row in tags.to_pylist()]
    return pa.array(plain, _STRINGS)


def _splits(tags: Any) -> Any:
    if not len(tags.flatten()):
        return pa.nulls(len(tags), pa.string())
    parts = [
        next((tag[len(SPLIT_TAG) :] for tag in row if tag.startswith(SPLIT_TAG)), None) for row in tags.to_pylist()
    ]
    return pa.array(parts, pa.string())
