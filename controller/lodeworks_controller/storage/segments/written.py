"""Segments on their way into the store: files in a job's folder, named by what they hold."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lodeworks_formats.manifest import SegmentRef, sha256_file
from lodeworks_formats.segments import write_segment

from lodeworks_controller.storage.segments.job_types import Written
from lodeworks_controller.storage.segments.session import SCHEMAS


class Writer:
    """Writes segments into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def write(self, kind: str, rows: Any) -> Written:
        """Writes an Arrow table that is sorted by its first column."""
        self._count += 1
        path = self._folder / f"{kind}-{self._count}.parquet"
        schema = SCHEMAS[kind]
        write_segment(path, rows, schema=schema)
        ids = rows.column(schema.names[0])
        bounds = pc.min_max(ids).as_py() if len(ids) else {"min": 0, "max": 0}
        ref = SegmentRef(
            kind=kind,
            digest=sha256_file(path),
            size_bytes=path.stat().st_size,
            rows=rows.num_rows,
            first_id=bounds["min"],
            last_id=bounds["max"],
        )
        return Written(ref, str(path))

    def write_parts(self, kind: str, batches: Iterable[Any], *, rows: int) -> tuple[Written, ...]:
        """Writes batches that come sorted as segments of about so many rows; rows of one id stay together."""
        written: list[Written] = []
        held: list[Any] = []
        count = 0
        for batch in batches:
            held.append(batch)
            count += batch.num_rows
            if count >= rows:
                whole = pa.Table.from_batches(held)
                cut = _start_of_last_id(whole)
                if cut:
                    written.append(self.write(kind, whole.slice(0, cut)))
                    held, count = whole.slice(cut).combine_chunks().to_batches(), whole.num_rows - cut
        if count:
            written.append(self.write(kind, pa.Table.from_batches(held)))
        return tuple(written)


def _start_of_last_id(rows: Any) -> int:
    """Returns the row where the last id begins: behind it more rows of the same id may come."""
    ids = rows.column(0)
    return int(pc.sum(pc.less(ids, ids[-1])).as_py() or 0)
