"""Segments of a dataset: immutable Parquet tables joined by ids that only the controller gives.

Ids (aid = asset, rec = record, rid = raw class) are int64 and unique in the installation. Each table is sorted by its
first column. DELTA_BINARY_PACKED without a dictionary makes contiguous ids nearly free: a million members ≈ 11 KB.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lodeworks_formats.errors import FormatError

_ROW_GROUP = 122_880  # DuckDB's own vector group: one thread reads one
_PAGED_ROW_GROUP = 16_384  # what is read a few pictures at a time: a page decodes little beside what it shows

_id = pa.int64()
_strings = pa.list_(pa.field("element", pa.string(), nullable=False))


def _required(name: str, kind: Any) -> Any:
    return pa.field(name, kind, nullable=False)


ASSETS_SCHEMA = pa.schema(
    [
        _required("aid", _id),
        _required("digest", pa.binary(32)),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("channels", pa.int8()),
        _required("size_bytes", pa.int64()),
        _required("format", pa.string()),
        _required("orientation", pa.int8()),
        pa.field("derived_digest", pa.binary(32)),
    ]
)
"""One row per picture; width and height are upright, format is the extension, derived_digest the upright blob."""

SIGNALS_SCHEMA = pa.schema(
    [
        _required("aid", _id),
        pa.field("phash", pa.uint64()),
        pa.field("dhash", pa.uint64()),
        pa.field("sharpness", pa.float32()),
        pa.field("exposure", pa.float32()),
        pa.field("contrast", pa.float32()),
        pa.field("quality", pa.float32()),
        pa.field("imported_quality", pa.float32()),
        _required("algorithm_version", pa.int32()),
    ]
)
"""What a later task computes about a picture: perceptual hashes and quality."""

MEASURED_SCHEMA = pa.schema(
    [
        _required("digest", pa.binary(32)),
        *(SIGNALS_SCHEMA.field(name) for name in ("phash", "dhash", "sharpness", "exposure", "contrast", "quality")),
        SIGNALS_SCHEMA.field("algorithm_version"),
    ]
)
"""Signals on their way between programs, which know pictures by digest; null = the picture could not be decoded."""

THUMBNAILS_SCHEMA = pa.schema([_required("aid", _id), pa.field("thumbnail", pa.binary(32))])
"""The small JPEG of each picture, a blob by its digest; null = the picture could not be decoded."""

SHRUNK_SCHEMA = pa.schema([_required("digest", pa.binary(32)), THUMBNAILS_SCHEMA.field("thumbnail")])
"""Thumbnails on their way between programs, which know pictures by digest."""

PROVENANCE_SCHEMA = pa.schema(
    [
        _required("aid", _id),
        _required("name", pa.string()),
        _required("source", pa.string()),
        _required("import_id", pa.string()),
    ]
)
"""One row per original name, so that an identical picture keeps each of its names."""

MEMBERS_SCHEMA = pa.schema([_required("aid", _id), pa.field("rec", _id), _required("tags", _strings)])
"""A version: asset, its ground-truth record (null = not annotated), its tags there."""

RECORDS_SCHEMA = pa.schema([_required("aid", _id), _required("rec", _id)])
"""A prediction set: which record holds the predictions of which asset."""

BOXES_SCHEMA = pa.schema(
    [
        _required("rec", _id),
        _required("rid", _id),
        _required("x", pa.float32()),
        _required("y", pa.float32()),
        _required("w", pa.float32()),
        _required("h", pa.float32()),
        _required("rotation", pa.float32()),
        pa.field("score", pa.float32()),
        pa.field("box_quality", pa.float32()),
        _required("tags", _strings),
        pa.field("attributes", pa.string()),
        _required("crowd", pa.bool_()),
        _required("difficult", pa.bool_()),
        pa.field("shape", pa.string()),
    ]
)
"""The boxes of records, in the record's order; attributes are canonical JSON, null when there are none."""

COUNTS_SCHEMA = pa.schema([_required("rec", _id), _required("rid", _id), _required("n", pa.int32())])
"""Boxes per record and raw class: filters and statistics read this instead of the boxes."""

_PAGED = (ASSETS_SCHEMA, PROVENANCE_SCHEMA, BOXES_SCHEMA, SIGNALS_SCHEMA, RECORDS_SCHEMA, THUMBNAILS_SCHEMA)


RAW_CLASSES = "lodeworks.raw_classes"
"""Key of the metadata in which segments of boxes say what their raw classes are called: JSON, rid → exact name."""


def write_segment(path: Path, table: Any, *, schema: Any) -> None:
    """Writes an Arrow table as a segment.

    Args:
        path: The new file.
        table: pyarrow.Table with the schema's columns, sorted by the first one.
        schema: One of the schemas above.

    Raises:
        FormatError: WRONG_SCHEMA when the columns cannot become the schema's without loss.
    """
    writer = SegmentWriter(path, schema=schema)
    writer.write(table)
    writer.close()


class SegmentWriter:
    """Writes a segment from tables as they come; holds a row group of them.

    Args:
        path: The new file.
        schema: One of the schemas above.
    """

    def __init__(self, path: Path, *, schema: Any) -> None:
        integers = [field.name for field in schema if pa.types.is_int64(field.type)]
        floats = [field.name for field in schema if pa.types.is_float32(field.type)]
        words = [field.name for field in schema if pa.types.is_string(field.type)]
        words += ["n"] if schema.equals(COUNTS_SCHEMA) else []
        lists = [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
        self._path = path
        self._schema = schema
        self._group = _PAGED_ROW_GROUP if schema in _PAGED else _ROW_GROUP
        self._held = schema.empty_table()
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=[*words, *lists],
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED") | dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            write_page_index=True,
        )

    def write(self, table: Any) -> None:
        """Adds rows behind those that are there, in the order of the first column; raises FormatError WRONG_SCHEMA."""
        try:
            table = table.select(self._schema.names).cast(self._schema)
        except (KeyError, pa.ArrowException) as error:
            self._writer.close()
            raise FormatError(
                "WRONG_SCHEMA", f"the table does not fit its segment ({error})", self._path.name
            ) from error
        self._held = pa.concat_tables([self._held, table])
        whole = self._held.num_rows - self._held.num_rows % self._group
        if whole:
            self._writer.write_table(self._held.slice(0, whole).combine_chunks(), row_group_size=self._group)
            self._held = self._held.slice(whole).combine_chunks()

    def close(self, metadata: Mapping[str, str] | None = None) -> None:
        """Ends the file, which then says this about itself."""
        if self._held.num_rows:
            self._writer.write_table(self._held.combine_chunks(), row_group_size=self._group)
        if metadata:
            self._writer.add_key_value_metadata(dict(metadata))
        self._writer.close()


def raw_classes_of(path: Path) -> dict[int, str]:
    """Returns rid → exact name as a segment of boxes says it; empty for other segments."""
    with pq.ParquetFile(path) as file:
        said = (file.metadata.metadata or {}).get(RAW_CLASSES.encode(), b"{}")
    return {int(rid): name for rid, name in json.loads(said).items()}


def read_segment(path: Path, *, schema: Any) -> Any:
    """Returns a segment as pyarrow.Table; raises FormatError WRONG_SCHEMA for any other file."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema):
                raise FormatError("WRONG_SCHEMA", "the file is another kind of segment", path.name)
            return file.read()
    except pa.ArrowException as error:
        raise FormatError("WRONG_SCHEMA", f"the file is no segment ({error})", path.name) from error
