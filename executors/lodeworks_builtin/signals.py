"""The built-in signals: measures the pictures of a view, on all cores, in flat memory.

Input by role: view. Output: signals (MEASURED_SCHEMA), one row per picture; nulls where it cannot be decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_executor.errors import BadDatasetError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import MEASURED_SCHEMA, pictures_metadata, read_pictures

from lodeworks_builtin.ahead import ahead, batches
from lodeworks_builtin.pace import Pace
from lodeworks_builtin.signal_measures import ALGORITHM_VERSION, Signals, measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lodeworks_executor import Task
    from lodeworks_formats.pictures import Picture

_ROWS = 16_384


def run(task: Task) -> None:
    """Measures one view; raises BadDatasetError when it is broken."""
    view = task.role(roles.VIEW)
    try:
        pace = Pace(pictures_metadata(view).count, progress=task.progress)
        found = pace.through(measured(read_pictures(view), assets=task.environment.inputs.assets), what="measured")
        write_measured(task.output(roles.SIGNALS), found)
    except FormatError as error:
        raise BadDatasetError(str(error)) from error
    task.progress(1.0, "done")


def measured(pictures: Iterable[Picture], *, assets: Path) -> Iterator[tuple[str, Signals | None]]:
    """Yields (digest, signals) in the order given; None for a picture that is missing or cannot be decoded."""
    return ahead(pictures, lambda picture: (picture.digest, _look(picture, assets)), name="measure")


def _look(picture: Picture, assets: Path) -> Signals | None:
    try:
        data = (assets / asset_path(picture.upright_name)).read_bytes()
    except OSError:
        return None
    return measure(data, width=picture.width, height=picture.height)


def write_measured(path: Path, found: Iterable[tuple[str, Signals | None]]) -> int:
    """Writes signals in their order and returns how many."""
    count = 0
    with pq.ParquetWriter(path, MEASURED_SCHEMA, compression="zstd") as writer:
        for rows in batches(found, _ROWS):
            signals = [one for _, one in rows]
            columns = [pa.array([bytes.fromhex(digest) for digest, _ in rows], pa.binary(32))]
            for field in list(MEASURED_SCHEMA)[1:-1]:
                values = [None if one is None else getattr(one, field.name) for one in signals]
                columns.append(pa.array(values, field.type))
            columns.append(pa.array([ALGORITHM_VERSION] * len(rows), pa.int32()))
            writer.write_batch(pa.record_batch(columns, schema=MEASURED_SCHEMA))
            count += len(rows)
    return count
