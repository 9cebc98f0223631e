"""Parquet files of Lodeworks: the only folder of this package that imports pyarrow (extra `segments`).

Pictures (a view, an exchange form, an inference result: one schema):

    write_pictures(path, pictures, *, kind="pictures", class_names=None, class_map_revision=None, row_group=4096) -> int
    write_picture_batches(path, batches, *, kind=..., class_names=..., class_map_revision=...) -> int   Arrow in, fast
    read_pictures(path) -> Iterator[Picture]           read_picture_batches(path) -> Iterator[pa.RecordBatch]
    pictures_metadata(path) -> PicturesMetadata(kind, class_names, class_map_revision, count)

Scores of a mining:

    write_scores(path, [(digest, score), ...]) -> int    read_scores(path) -> Iterator[tuple[str, float]]

Segments of a dataset:

    write_segment(path, table, *, schema) -> None      read_segment(path, *, schema) -> pa.Table
    SegmentWriter(path, *, schema)  .write(table)  .close(metadata)     as rows come
    ASSETS_SCHEMA SIGNALS_SCHEMA PROVENANCE_SCHEMA MEMBERS_SCHEMA RECORDS_SCHEMA BOXES_SCHEMA COUNTS_SCHEMA
    THUMBNAILS_SCHEMA    MEASURED_SCHEMA, SHRUNK_SCHEMA: signals and thumbnails between programs

The same input gives the same bytes with the same pyarrow. Nothing here holds more than a row group of pictures.
"""

from lodeworks_formats.segments.box_columns import BOX_TYPE
from lodeworks_formats.segments.dataset import (
    ASSETS_SCHEMA,
    BOXES_SCHEMA,
    COUNTS_SCHEMA,
    MEASURED_SCHEMA,
    MEMBERS_SCHEMA,
    PROVENANCE_SCHEMA,
    RAW_CLASSES,
    RECORDS_SCHEMA,
    SHRUNK_SCHEMA,
    SIGNALS_SCHEMA,
    THUMBNAILS_SCHEMA,
    SegmentWriter,
    raw_classes_of,
    read_segment,
    write_segment,
)
from lodeworks_formats.segments.pictures import (
    PICTURES_SCHEMA,
    PicturesMetadata,
    pictures_metadata,
    read_picture_batches,
    read_pictures,
    write_picture_batches,
    write_pictures,
)
from lodeworks_formats.segments.scores import SCORES_SCHEMA, read_scores, write_scores

__all__ = [
    "ASSETS_SCHEMA",
    "BOXES_SCHEMA",
    "BOX_TYPE",
    "COUNTS_SCHEMA",
    "MEASURED_SCHEMA",
    "MEMBERS_SCHEMA",
    "PICTURES_SCHEMA",
    "PROVENANCE_SCHEMA",
    "RAW_CLASSES",
    "RECORDS_SCHEMA",
    "SCORES_SCHEMA",
    "SHRUNK_SCHEMA",
    "SIGNALS_SCHEMA",
    "THUMBNAILS_SCHEMA",
    "PicturesMetadata",
    "SegmentWriter",
    "pictures_metadata",
    "raw_classes_of",
    "read_picture_batches",
    "read_pictures",
    "read_scores",
    "read_segment",
    "write_picture_batches",
    "write_pictures",
    "write_scores",
    "write_segment",
]
