"""Which annotation files of a source are for which picture of a dataset, noted on disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lodeworks_builtin.ingesting.index import Index
from lodeworks_builtin.ingesting.report import ANNOTATIONS, PREDICTIONS
from lodeworks_builtin.ingesting.source import Entry

_TABLES = {
    "label_files": "(number INTEGER PRIMARY KEY, kind, name, size_bytes, handle, stem, leaf,"
    " whole INTEGER DEFAULT 0, whole_digest, base INTEGER DEFAULT 0, base_digest)",
    "brought": "(digest, place, PRIMARY KEY (digest, place)) WITHOUT ROWID",
    "given": "(digest, kind, name, size_bytes, handle, PRIMARY KEY (digest, kind)) WITHOUT ROWID",
}


@dataclass(frozen=True, slots=True)
class LabelFile:
    """An annotation file, how many pictures of the dataset it can be for, and the digest of the last of them."""

    entry: Entry
    kind: str
    pictures: int
    digest: str


class Matches:
    """Annotation files without a picture in the source, pictures in the source, and what is given to whom."""

    def __init__(self, index: Index) -> None:
        self._index = index
        for name, columns in _TABLES.items():
            index.execute(f"CREATE TABLE {name} {columns}")

    def add_files(self, orphans: Iterable[tuple[Entry, bool, str]]) -> None:
        """Adds annotation files: whether they hold predictions, and the picture's path without suffix."""
        rows = (
            (PREDICTIONS if predicted else ANNOTATIONS, *entry, stem, stem.rpartition("/")[2])
            for entry, predicted, stem in orphans
        )
        columns = "(kind, name, size_bytes, handle, stem, leaf)"
        self._index.fill(f"INSERT INTO label_files {columns} VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 (constants)
        self._index.execute("CREATE INDEX label_files_leaf ON label_files (leaf)")

    def add_picture(self, digest: str, place: int) -> None:
        """Adds a picture of the source."""
        self._index.execute("INSERT INTO brought VALUES (?, ?)", (digest, place))

    def take(self, digest: str) -> list[int]:
        """Returns the places of the pictures with these bytes, which are no longer left."""
        found = self._index.execute("SELECT place FROM brought WHERE digest = ? ORDER BY place", (digest,)).fetchall()
        if found:
            self._index.execute("DELETE FROM brought WHERE digest = ?", (digest,))
        return [int(place) for (place,) in found]

    def left(self) -> list[int]:
        """Returns the places of pictures that nobody took."""
        return [int(place) for (place,) in self._index.execute("SELECT place FROM brought ORDER BY place")]

    def offer(self, stem: str, digest: str) -> None:
        """Offers a picture by one of its names to the files of that name; those of the whole path come first."""
        leaf = stem.rpartition("/")[2]
        found = self._index.execute("SELECT number, stem FROM label_files WHERE leaf = ?", (leaf,)).fetchall()
        for number, wanted in found:
            same = stem in (wanted, digest) or f"/{wanted}".endswith(f"/{stem}")
            side = "whole" if same else "base"
            self._index.execute(
                f"UPDATE label_files SET {side} = {side} + 1, {side}_digest = ?1"  # noqa: S608 (one of two words)
                f" WHERE number = ?2 AND {side}_digest IS NOT ?1",
                (digest, number),
            )

    def files(self) -> Iterator[LabelFile]:
        """Yields the annotation files."""
        chosen = "iif(whole, whole, base), iif(whole, whole_digest, base_digest)"
        found = self._index.execute(f"SELECT kind, {chosen}, name, size_bytes, handle FROM label_files ORDER BY number")  # noqa: S608
        return (LabelFile(Entry(*entry), kind, pictures, digest or "") for kind, pictures, digest, *entry in found)

    def give(self, digest: str, kind: str, entry: Entry) -> str | None:
        """Gives a file to a picture; returns the name of the one that it has already, which counts."""
        values = (digest, kind, *entry)
        if self._index.execute("INSERT OR IGNORE INTO given VALUES (?, ?, ?, ?, ?)", values).rowcount:
            return None
        there = self._index.execute("SELECT name FROM given WHERE digest = ? AND kind = ?", (digest, kind))
        return str(there.fetchone()[0])

    def given(self, digest: str) -> dict[str, Entry]:
        """Returns kind → annotation file of a picture."""
        found = self._index.execute("SELECT kind, name, size_bytes, handle FROM given WHERE digest = ?", (digest,))
        return {kind: Entry(*entry) for kind, *entry in found}
