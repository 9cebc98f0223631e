"""DuckDB over segments: in memory, opened afresh for each job, under a memory limit."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from lodeworks_formats.segments import (
    ASSETS_SCHEMA,
    BOXES_SCHEMA,
    COUNTS_SCHEMA,
    MEMBERS_SCHEMA,
    PROVENANCE_SCHEMA,
    RECORDS_SCHEMA,
    SIGNALS_SCHEMA,
    THUMBNAILS_SCHEMA,
)

from lodeworks_controller.domain.manifest import (
    ASSETS,
    BOXES,
    COUNTS,
    MEMBERS,
    PROVENANCE,
    RECORDS,
    SIGNALS,
    THUMBNAILS,
)
from lodeworks_controller.storage.segments.job_types import Limits, Located

SCHEMAS = {
    ASSETS: ASSETS_SCHEMA,
    BOXES: BOXES_SCHEMA,
    COUNTS: COUNTS_SCHEMA,
    MEMBERS: MEMBERS_SCHEMA,
    PROVENANCE: PROVENANCE_SCHEMA,
    RECORDS: RECORDS_SCHEMA,
    SIGNALS: SIGNALS_SCHEMA,
    THUMBNAILS: THUMBNAILS_SCHEMA,
}


@contextmanager
def open_session(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a connection of its own database, and frees all that it held at the end."""
    config: dict[str, Any] = {
        "memory_limit": f"{limits.memory_bytes // (1024 * 1024)}MiB",
        "threads": limits.threads,
        "temp_directory": str(Path(limits.scratch) / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        yield connection
    finally:
        connection.close()


def files_sql(paths: Sequence[str], *, numbered: bool = False) -> str:
    """Returns the table function that reads the files; ``numbered`` adds file_row_number."""
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{listed}]{', file_row_number = true' if numbered else ''})"


def show(connection: duckdb.DuckDBPyConnection, name: str, segments: Sequence[Located], *, kind: str) -> None:
    """Makes segments of one kind readable as a view; an empty one when there are none."""
    if segments:
        source = files_sql([segment.path for segment in segments])
        connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM {source}')
    else:
        connection.register(name, SCHEMAS[kind].empty_table())


def table(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Returns the rows of a query as an Arrow table."""
    return connection.sql(query).to_arrow_table()
