"""A PostgreSQL of a benchmark's own: as it is by default, so durable, on a Unix socket, gone afterwards."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SkippedError(Exception):
    """Why a row is not measured here."""


@contextmanager
def durable_postgres() -> Iterator[str]:
    """Runs a server; yields the address of an empty database. Raises SkippedError where there are no programs."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "world"))
    try:
        from postgres_server import find_programs, running_postgres  # noqa: PLC0415
    finally:
        sys.path.pop(0)
    programs = find_programs()
    if programs is None:
        raise SkippedError("there is no PostgreSQL; apt-get install postgresql")
    with running_postgres(programs, settings=()) as server:
        yield server.create()
