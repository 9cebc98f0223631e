"""What an import notes of each file, in a database on disk, so that memory does not grow with the number of files."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from lodeworks_formats.errors import FormatError

_CACHE_KIB: Final = 8192


class Index:
    """A database that lives as long as one import; its file has no name, so that however a run ends nothing is left.

    Args:
        folder: Where there is room: some 400 bytes for a picture with its annotation.

    Raises:
        sqlite3.OperationalError: There is no room, as from every call.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / ".index"
        path.unlink(missing_ok=True)
        # Nobody else knows the file, so no lock, which not every shared folder has; nobody reads it again after a
        # crash: no journal, no sync, one transaction that never ends.
        address = f"{path.absolute().as_uri()}?nolock=1"
        self._connection = sqlite3.connect(address, uri=True, isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._connection.execute("BEGIN EXCLUSIVE")
        path.unlink()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Runs a statement; its rows are read as they are asked for."""
        return self._connection.execute(statement, values)

    def fill(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement for each row; the rows are taken one by one."""
        self._connection.executemany(statement, rows)

    def close(self) -> None:
        """Forgets everything."""
        self._connection.close()


@contextmanager
def opened_index(folder: Path) -> Iterator[Index]:
    """Opens an index in a folder; raises FormatError DISK_FULL where it cannot be written."""
    try:
        with closing(Index(folder)) as index:
            yield index
    except sqlite3.OperationalError as error:
        message = f"what is noted of each file cannot be written ({error}); make room on the worker and repeat"
        raise FormatError("DISK_FULL", message) from error
