"""Segments on their way into the store: files in a job's folder, named by what they hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from lodeworks_formats.manifest import SegmentRef, canonical_json, sha256_file
from lodeworks_formats.segments import RAW_CLASSES, SegmentWriter

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
        part = self._begin(kind)
        part.add(rows)
        return part.finish()

    def write_parts(self, kind: str, tables: Iterable[Any], *, rows: int) -> tuple[Written, ...]:
        """Writes tables that come sorted as segments of about so many rows; rows of one table stay together."""
        written: list[Written] = []
        part: _Part | None = None
        for table in tables:
            if not table.num_rows:
                continue
            part = part or self._begin(kind)
            part.add(table)
            if part.rows >= rows:
                written.append(part.finish())
                part = None
        if part is not None:
            written.append(part.finish())
        return tuple(written)

    def _begin(self, kind: str) -> "_Part":
        self._count += 1
        return _Part(kind, self._folder / f"{kind}-{self._count}.parquet", class_names=self._class_names)


class _Part:
    """One segment in the making: its rows go to disk as they come."""

    def __init__(self, kind: str, path: Path, *, class_names: Mapping[int, str]) -> None:
        self.rows = 0
        self._kind = kind
        self._path = path
        self._class_names = class_names
        self._file = SegmentWriter(path, schema=SCHEMAS[kind])
        self._span: tuple[int, int] | None = None
        self._rids = set[int]()

    def add(self, rows: Any) -> None:
        """Adds the rows of an Arrow table."""
        self._file.write(rows)
        self.rows += rows.num_rows
        if rows.num_rows:
            found = pc.min_max(rows.column(SCHEMAS[self._kind].names[0])).as_py()
            low, high = self._span or (found["min"], found["max"])
            self._span = min(low, found["min"]), max(high, found["max"])
        if self._kind == BOXES:
            self._rids.update(pc.unique(rows.column("rid")).to_pylist())

    def finish(self) -> Written:
        """Ends the file and names it by what it holds."""
        named = {str(rid): self._class_names.get(rid, "") for rid in sorted(self._rids)}
        self._file.close({RAW_CLASSES: canonical_json(named).decode()} if self._kind == BOXES else None)
        first_id, last_id = self._span or (0, 0)
        ref = SegmentRef(
            kind=self._kind,
            digest=sha256_file(self._path),
            size_bytes=self._path.stat().st_size,
            rows=self.rows,
            first_id=first_id,
            last_id=last_id,
        )
        return Written(ref, str(self._path))
