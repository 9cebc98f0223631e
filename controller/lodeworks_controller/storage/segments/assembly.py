"""Members put together into pictures: assets, names, boxes with resolved class names, in the columns of a view."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from lodeworks_formats.segments import BOX_TYPE, PICTURES_SCHEMA
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import ASSETS, BOXES, PROVENANCE, RECORDS, covering
from lodeworks_controller.storage.segments.job_types import Located, Source
from lodeworks_controller.storage.segments.session import files_sql
from lodeworks_controller.storage.segments.statistics import bounds

SPLIT_TAG = "split:"
"""A member's tag that begins so names the part of a split that its source put it in."""

_BOX_COLUMNS = [field.name for field in BOX_TYPE if field.name != "class_name"]
_LISTS = PICTURES_SCHEMA.field("boxes").type
_STRINGS = PICTURES_SCHEMA.field("names").type


def assemble(
    session: duckdb.DuckDBPyConnection,
    members: Any,
    *,
    source: Source,
    classes: Mapping[int, str],
    predictions: Source | None = None,
) -> Any:
    """Returns members as pictures, in their order.

    Args:
        session: Where queries run.
        members: Arrow table (aid, rec, tags), sorted by aid; not empty.
        source: Segments that the members point into.
        classes: rid → class name; boxes of other raw classes are left out.
        predictions: A prediction set whose boxes go beside, if one is wanted.
    """
    aids = members.column("aid").combine_chunks()
    session.register("chunk", pa.table({"aid": aids}))
    assets = _assets(session, source, aids)
    names = _by_aid(session, source, aids)
    tags = members.column("tags").combine_chunks()
    columns = {
        "digest": assets.column("digest").cast(pa.binary(32)),
        "extension": assets.column("format"),
        "width": assets.column("width"),
        "height": assets.column("height"),
        "orientation": assets.column("orientation"),
        "channels": assets.column("channels"),
        "size_bytes": assets.column("size_bytes"),
        "names": names,
        "tags": _plain_tags(tags),
        "split": _splits(tags),
        "derived_digest": assets.column("derived_digest").cast(pa.binary(32)),
        "boxes": box_lists_of(session, members.column("rec"), source=source, classes=classes),
        "predictions": pa.nulls(len(aids), _LISTS),
    }
    if predictions is not None:
        recs = _prediction_records(session, predictions, aids)
        columns["predictions"] = box_lists_of(session, recs, source=predictions, classes=classes)
    return pa.table(columns).cast(PICTURES_SCHEMA)


def chunks(members: Any, size: int) -> Iterator[Any]:
    """Yields the members in slices."""
    for start in range(0, members.num_rows, size):
        yield members.slice(start, size).combine_chunks()


def _within(source: Source, kind: str, ids: Any) -> tuple[Located, ...]:
    span = bounds(ids)
    if span is None:
        return ()
    wanted = {ref.digest for ref in covering((s.ref for s in source.of_kind(kind)), low=span[0], high=span[1])}
    return tuple({s.ref.digest: s for s in source.of_kind(kind) if s.ref.digest in wanted}.values())


def _assets(session: duckdb.DuckDBPyConnection, source: Source, aids: Any) -> Any:
    files = _within(source, ASSETS, aids)
    low, high = aids[0].as_py(), aids[-1].as_py()
    found = session.sql(
        f"SELECT * FROM {files_sql([file.path for file in files])}"
        f" WHERE aid BETWEEN {low} AND {high} AND aid IN (SELECT aid FROM chunk) ORDER BY aid"
    ).to_arrow_table()
    if not found.column("aid").combine_chunks().equals(aids):
        raise RuntimeError(f"{len(aids)} members point to {found.num_rows} assets: a segment is missing or damaged")
    return found


def _by_aid(session: duckdb.DuckDBPyConnection, source: Source, aids: Any) -> Any:
    """Returns the original names of each picture, each once, in order."""
    files = _within(source, PROVENANCE, aids)
    if not files:
        return pa.array([[]] * len(aids), _STRINGS)
    low, high = aids[0].as_py(), aids[-1].as_py()
    found = session.sql(
        f"SELECT c.aid, coalesce(n.names, []) AS names FROM chunk c LEFT JOIN (SELECT aid,"
        f" list(DISTINCT name ORDER BY name) AS names FROM {files_sql([file.path for file in files])}"
        f" WHERE aid BETWEEN {low} AND {high} AND aid IN (SELECT aid FROM chunk) GROUP BY aid) n ON n.aid = c.aid"
        " ORDER BY c.aid"
    ).to_arrow_table()
    return found.column("names").cast(_STRINGS)


def _prediction_records(session: duckdb.DuckDBPyConnection, source: Source, aids: Any) -> Any:
    files = _within(source, RECORDS, aids)
    if not files:
        return pa.chunked_array([pa.nulls(len(aids), pa.int64())])
    low, high = aids[0].as_py(), aids[-1].as_py()
    found = session.sql(
        "SELECT c.aid, r.rec FROM chunk c LEFT JOIN (SELECT aid, max(rec) AS rec"
        f" FROM {files_sql([file.path for file in files])} WHERE aid BETWEEN {low} AND {high} GROUP BY aid) r"
        " ON r.aid = c.aid ORDER BY c.aid"
    ).to_arrow_table()
    return found.column("rec")


def box_lists_of(session: duckdb.DuckDBPyConnection, recs: Any, *, source: Source, classes: Mapping[int, str]) -> Any:
    """Returns one list of boxes per record, in the record's own order; null where the record is null."""
    flat = recs.combine_chunks() if isinstance(recs, pa.ChunkedArray) else recs
    boxes = _boxes(session, flat, source=source, rids=sorted(classes))
    absent = flat.is_null().to_numpy(zero_copy_only=False)
    wanted = flat.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    held = boxes.column("rec").to_numpy().astype(np.int64)
    starts = np.searchsorted(held, wanted, side="left")
    lengths = np.where(absent, 0, np.searchsorted(held, wanted, side="right") - starts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    boxes = boxes.take(pa.array(_ranges(starts, lengths, offsets)))
    struct = pa.StructArray.from_arrays(
        [
            _names(boxes.column("rid"), classes),
            *(_column(boxes.column(name), name) for name in _BOX_COLUMNS),
        ],
        fields=list(BOX_TYPE),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=_LISTS, mask=pa.array(absent))


def _boxes(session: duckdb.DuckDBPyConnection, recs: Any, *, source: Source, rids: Sequence[int]) -> Any:
    """Returns the boxes of the records, sorted by record and then as the record has them."""
    known = recs.drop_null().sort()
    parts = []
    columns = ", ".join(("rec", "rid", *_BOX_COLUMNS))
    session.register("wanted", pa.table({"rec": known}))
    listed = ", ".join(map(str, rids)) or "NULL"
    values: NDArray[np.int64] = known.to_numpy()
    for segment in sorted(_within(source, BOXES, known), key=lambda found: found.ref.first_id):
        first, last = np.searchsorted(values, [segment.ref.first_id, segment.ref.last_id + 1])
        if first == last:
            continue
        parts.append(
            session.sql(
                f"SELECT {columns} FROM {files_sql([segment.path], numbered=True)}"
                f" WHERE rec BETWEEN {values[first]} AND {values[last - 1]} AND rec IN (SELECT rec FROM wanted)"
                f" AND rid IN ({listed}) ORDER BY rec, file_row_number"
            ).to_arrow_table()
        )
    if not parts:
        return session.sql(f"SELECT {columns} FROM ({_NO_BOXES})").to_arrow_table()
    return pa.concat_tables(parts).combine_chunks()


_NO_BOXES = (
    "SELECT 0::BIGINT AS rec, 0::BIGINT AS rid, 0::FLOAT AS x, 0::FLOAT AS y, 0::FLOAT AS w, 0::FLOAT AS h,"
    " NULL::FLOAT AS score, 0::FLOAT AS rotation, NULL::FLOAT AS box_quality, []::VARCHAR[] AS tags,"
    " NULL::VARCHAR AS attributes, false AS crowd, false AS difficult, NULL::VARCHAR AS shape WHERE false"
)


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
