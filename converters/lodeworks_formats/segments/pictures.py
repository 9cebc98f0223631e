"""Pictures as Parquet: view, exchange form and inference result in one schema, in flat memory.

Box edges and scores are float32, as in the dataset's own segments.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments.box_columns import BOX_TYPE, box_lists, boxes_array

_strings = pa.list_(pa.field("element", pa.string(), nullable=False))
_boxes = pa.list_(pa.field("element", BOX_TYPE, nullable=False))

PICTURES_SCHEMA = pa.schema(
    [
        pa.field("digest", pa.binary(32), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("orientation", pa.int8(), nullable=False),
        pa.field("channels", pa.int8(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("names", _strings, nullable=False),
        pa.field("tags", _strings, nullable=False),
        pa.field("split", pa.string()),
        pa.field("derived_digest", pa.binary(32)),
        pa.field("boxes", _boxes),
        pa.field("predictions", _boxes),
    ]
)
"""One row per picture; a null list = not annotated (boxes) or not predicted (predictions)."""

_KIND, _CLASSES, _REVISION = b"lodeworks.kind", b"lodeworks.class_names", b"lodeworks.class_map_revision"
_WORDS = ("extension", "split", "names.list.element", "tags.list.element")
_BOX_WORDS = ("class_name", "attributes", "tags.list.element")
_DICTIONARIES = [*_WORDS, *(f"{side}.list.element.{word}" for side in ("boxes", "predictions") for word in _BOX_WORDS)]


@dataclass(frozen=True, slots=True)
class PicturesMetadata:
    """What a pictures file says about itself.

    Attributes:
        kind: view, exchange, predictions or pictures.
        class_names: The class order of a view; None when the file does not settle one.
        class_map_revision: The revision a view was resolved with; None elsewhere.
        count: Pictures in the file.
    """

    kind: str
    class_names: tuple[str, ...] | None
    class_map_revision: int | None
    count: int


def write_pictures(
    path: Path,
    pictures: Iterable[Picture],
    *,
    kind: str = "pictures",
    class_names: Sequence[str] | None = None,
    class_map_revision: int | None = None,
    row_group: int = 4096,
) -> int:
    """Writes pictures in their order and returns how many; holds `row_group` of them in memory at once."""
    batches = _batches(iter(pictures), row_group)
    return write_picture_batches(
        path, batches, kind=kind, class_names=class_names, class_map_revision=class_map_revision
    )


def write_picture_batches(
    path: Path,
    batches: Iterable[Any],
    *,
    kind: str = "pictures",
    class_names: Sequence[str] | None = None,
    class_map_revision: int | None = None,
) -> int:
    """Writes Arrow batches or tables of PICTURES_SCHEMA, one row group each, and returns the number of pictures."""
    metadata = {_KIND: kind.encode()}
    if class_names is not None:
        metadata[_CLASSES] = canonical_json(list(class_names))
    if class_map_revision is not None:
        metadata[_REVISION] = str(class_map_revision).encode()
    schema, count = PICTURES_SCHEMA.with_metadata(metadata), 0
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
        for batch in batches:
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            try:
                table = table.select(PICTURES_SCHEMA.names).cast(schema)
            except (KeyError, pa.ArrowException) as error:
                raise FormatError("WRONG_SCHEMA", f"the table holds no pictures ({error})", path.name) from error
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            count += table.num_rows
    return count


def pictures_metadata(path: Path) -> PicturesMetadata:
    """Returns what a pictures file says about itself; raises FormatError WRONG_SCHEMA."""
    with _opened(path) as file:
        raw = file.schema_arrow.metadata or {}
        classes, revision = raw.get(_CLASSES), raw.get(_REVISION)
        return PicturesMetadata(
            kind=raw.get(_KIND, b"pictures").decode(),
            class_names=None if classes is None else tuple(json.loads(classes)),
            class_map_revision=None if revision is None else int(revision),
            count=file.metadata.num_rows,
        )


def read_picture_batches(path: Path, *, batch_size: int = 4096, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yields pyarrow.RecordBatch of PICTURES_SCHEMA, or of some of its columns; raises FormatError WRONG_SCHEMA."""
    try:
        with _opened(path) as file:
            yield from file.iter_batches(batch_size=batch_size, columns=None if columns is None else list(columns))
    except pa.ArrowException as error:
        raise FormatError("WRONG_SCHEMA", f"the file is damaged ({error})", path.name) from error


def read_pictures(path: Path) -> Iterator[Picture]:
    """Yields the pictures of a file in their order; raises FormatError WRONG_SCHEMA.

    Only the schema is checked: who does not trust the writer calls `check_picture` on each.
    """
    for batch in read_picture_batches(path):
        column = {name: batch.column(name) for name in batch.schema.names}
        boxes, predictions = box_lists(column["boxes"]), box_lists(column["predictions"])
        plain = (column[name].to_pylist() for name in PICTURES_SCHEMA.names if name not in ("boxes", "predictions"))
        for row, truth, predicted in zip(zip(*plain, strict=True), boxes, predictions, strict=True):
            digest, extension, width, height, orientation, channels, size, names, tags, split, derived = row
            yield Picture(
                digest=digest.hex(),
                extension=extension,
                width=width,
                height=height,
                orientation=orientation,
                channels=channels,
                size_bytes=size,
                names=tuple(names),
                tags=tuple(tags),
                split=split,
                boxes=truth,
                predictions=predicted,
                derived_digest=None if derived is None else derived.hex(),
            )


def _opened(path: Path) -> Any:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FormatError("WRONG_SCHEMA", f"the file holds no pictures ({error})", path.name) from error
    if not file.schema_arrow.equals(PICTURES_SCHEMA):
        file.close()
        raise FormatError("WRONG_SCHEMA", "the file holds no pictures: its columns are others", path.name)
    return file


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[Any]:
    while rows := list(islice(pictures, size)):
        yield pa.record_batch(
            [
                pa.array([bytes.fromhex(row.digest) for row in rows], pa.binary(32)),
                pa.array([row.extension for row in rows], pa.string()),
                pa.array([row.width for row in rows], pa.int32()),
                pa.array([row.height for row in rows], pa.int32()),
                pa.array([row.orientation for row in rows], pa.int8()),
                pa.array([row.channels for row in rows], pa.int8()),
                pa.array([row.size_bytes for row in rows], pa.int64()),
                pa.array([row.names for row in rows], _strings),
                pa.array([row.tags for row in rows], _strings),
                pa.array([row.split for row in rows], pa.string()),
                pa.array([row.derived_digest and bytes.fromhex(row.derived_digest) for row in rows], pa.binary(32)),
                boxes_array([row.boxes for row in rows], kind=_boxes),
                boxes_array([row.predictions for row in rows], kind=_boxes),
            ],
            schema=PICTURES_SCHEMA,
        )
