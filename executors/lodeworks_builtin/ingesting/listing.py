"""The files of a source in the order of their names, listed once and read as often as a format wants."""

from collections.abc import Iterable, Iterator

from lodeworks_builtin.ingesting.index import Index
from lodeworks_builtin.ingesting.source import Entry


class Listing:
    """Every plain file of a source.

    Args:
        index: Where they are noted.
        entries: The files, in any order; of equal names the first one stays first.

    Raises:
        FormatError: What listing the source raises.
    """

    def __init__(self, index: Index, entries: Iterable[Entry]) -> None:
        self.index = index
        index.execute(
            "CREATE TABLE files (name TEXT, number INTEGER, size_bytes INTEGER, handle BLOB,"
            " PRIMARY KEY (name, number)) WITHOUT ROWID"
        )
        rows = ((entry.name, number, entry.size_bytes, entry.handle) for number, entry in enumerate(entries))
        index.fill("INSERT INTO files VALUES (?, ?, ?, ?)", rows)

    def __iter__(self) -> Iterator[Entry]:
        """Yields the files by name."""
        found = self.index.execute("SELECT name, size_bytes, handle FROM files ORDER BY name, number")
        return map(Entry._make, found)

    def endings_of(self, stem: str) -> Iterator[str]:
        """Yields the suffixes, in lower case with their dot, of the files that are called so but for their suffix."""
        start, behind = f"{stem}.", f"{stem}/"  # no character lies between the two
        for (name,) in self.index.execute("SELECT name FROM files WHERE name > ? AND name < ?", (start, behind)):
            ending = name[len(stem) :].lower()
            if "." not in ending[1:] and "/" not in ending:
                yield ending
