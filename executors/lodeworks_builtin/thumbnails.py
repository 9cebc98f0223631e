"""The built-in thumbnails: small JPEGs of the pictures of a view, on all cores, in flat memory.

Input by role: view. Outputs: thumbnails (SHRUNK_SCHEMA), one row per picture, nulls where it cannot be decoded; and
blobs/<digest>, the JPEGs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_executor.errors import BadDatasetError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import SHRUNK_SCHEMA, pictures_metadata, read_pictures

from lodeworks_builtin.ahead import ahead, batches
from lodeworks_builtin.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lodeworks_executor import Task
    from lodeworks_formats.pictures import Picture

LONGEST_SIDE_PX: Final = 256
ALGORITHM_VERSION: Final = 1
_JPEG_QUALITY: Final = 80
_ROWS: Final = 16_384
_REDUCED: Final = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


def run(task: Task) -> None:
    """Shrinks one view; raises BadDatasetError when it is broken."""
    view, blobs = task.role(roles.VIEW), task.output(roles.BLOBS)
    blobs.mkdir(parents=True, exist_ok=True)
    try:
        pace = Pace(pictures_metadata(view).count, progress=task.progress)
        found = shrunk(read_pictures(view), assets=task.environment.inputs.assets, blobs=blobs)
        write_shrunk(task.output(roles.THUMBNAILS), pace.through(found, what="shrunk"))
    except FormatError as error:
        raise BadDatasetError(str(error)) from error
    task.progress(1.0, "done")


def shrunk(pictures: Iterable[Picture], *, assets: Path, blobs: Path) -> Iterator[tuple[str, str | None]]:
    """Yields (picture, thumbnail) by digest in the order given; None for a picture that cannot be decoded."""

    def work(picture: Picture) -> tuple[str, str | None]:
        try:
            data = (assets / asset_path(picture.upright_name)).read_bytes()
        except OSError:
            return picture.digest, None
        small = thumbnail(data, width=picture.width, height=picture.height)
        if small is None:
            return picture.digest, None
        digest = hashlib.sha256(small).hexdigest()
        (blobs / digest).write_bytes(small)
        return picture.digest, digest

    return ahead(pictures, work, name="shrink")


def thumbnail(data: bytes, *, width: int, height: int) -> bytes | None:
    """Returns a JPEG of at most LONGEST_SIDE_PX of an encoded upright picture of that size; None if it is broken.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that is still large enough.
    """
    shrinks = (
        flag
        for scale, flag in _REDUCED
        if max(width, height) >= scale * LONGEST_SIDE_PX and min(width, height) >= scale
    )
    flag = next(shrinks, cv2.IMREAD_COLOR)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if image is None or not image.size:
        return None
    scale = LONGEST_SIDE_PX / max(image.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes() if done else None


def write_shrunk(path: Path, found: Iterable[tuple[str, str | None]]) -> int:
    """Writes which thumbnail is whose, in the order given, and returns how many pictures those are."""
    count = 0
    with pq.ParquetWriter(path, SHRUNK_SCHEMA, compression="zstd") as writer:
        for rows in batches(found, _ROWS):
            columns = [
                pa.array([bytes.fromhex(picture) for picture, _ in rows], pa.binary(32)),
                pa.array([None if small is None else bytes.fromhex(small) for _, small in rows], pa.binary(32)),
            ]
            writer.write_batch(pa.record_batch(columns, schema=SHRUNK_SCHEMA))
            count += len(rows)
    return count
