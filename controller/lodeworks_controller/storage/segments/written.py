"""Segments on their way into the store: files in a job's folder, named by what they hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lodeworks_formats.manifest import SegmentRef, canonical_json, sha256_file
from lodeworks_formats.segments import RAW_CLASSES, write_segment

from lodeworks_controller.domain.manifest import BOXES
from lodeworks_controller.storage.segments.job_types import Written
from lodeworks_controller.storage.segments.session import SCHEMAS


class Writer:
    """Writes segments into one folder; boxes say what their raw classes are called."""

    def __init__(self, folder: Path, *, class_names: Mapping[int, str] | None = None) -> None:
        self._folder = folder
        self._class_names = class_names or {}
        self._count = 0

    def write(self, kind: str, rows: Any) -> Written:
        """Writes an Arrow table that is sorted by its first column."""
        self._count += 1
        path = self._folder / f"{kind}-{self._count}.parquet"
        schema = SCHEMAS[kind]
        write_segment(path, rows, schema=schema, metadata=self._metadata(kind, rows))
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

    def _metadata(self, kind: str, rows: Any) -> dict[str, str]:
        if kind != BOXES:
            return {}
        named = {str(rid): self._class_names.get(rid, "") for rid in sorted(pc.unique(rows.column("rid")).to_pylist())}
        return {RAW_CLASSES: canonical_json(named).decode()}

    def write_parts(self, kind: str, tables: Iterable[Any], *, rows: int) -> tuple[Written, ...]:
        """Writes tables that come sorted as segments of about so many rows; rows of one table stay together."""
        written: list[Written] = []
        held: list[Any] = []
        for table in tables:
            if not table.num_rows:
                continue
            held.append(table)
            if sum(part.num_rows for part in held) >= rows:
                written.append(self.write(kind, pa.concat_tables(held)))
                held = []
        if held:
            written.append(self.write(kind, pa.concat_tables(held)))
        return tuple(written)
