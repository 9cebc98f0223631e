"""Every file of a source in its place: pictures with the annotations that go with them, and strays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lodeworks_builtin.ingesting.index import Index
from lodeworks_builtin.ingesting.report import ANNOTATIONS, PICTURES, PREDICTIONS
from lodeworks_builtin.ingesting.source import Entry

Key = tuple[str, str]
"""Root folder, and path below the role's folder without its suffix: what a picture and its annotation share."""

_TABLES = {
    "pictures": "(place INTEGER PRIMARY KEY, name, size_bytes, handle, path, root, stem, UNIQUE (root, stem))",
    "labels": "(predicted, root, stem, name, size_bytes, handle, PRIMARY KEY (predicted, root, stem)) WITHOUT ROWID",
    "strays": "(reason, name, message, kind)",
}
_JOINED = (
    "SELECT p.name, p.size_bytes, p.handle, p.path, p.root, p.stem, t.name, t.size_bytes, t.handle, d.name,"
    " d.size_bytes, d.handle FROM pictures p"
    " LEFT JOIN labels t ON t.predicted = 0 AND t.root = p.root AND t.stem = p.stem"
    " LEFT JOIN labels d ON d.predicted = 1 AND d.root = p.root AND d.stem = p.stem"
)


@dataclass(slots=True)
class Candidate:
    """One picture file with the annotation files that go with it."""

    picture: Entry
    name: str
    key: Key
    truth: Entry | None = None
    predictions: Entry | None = None


class Candidates:
    """Pictures in the order of their names; a place is a number from 0 on."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> Candidate:
        return _candidate(self._index.execute(f"{_JOINED} WHERE p.place = ?", (place,)).fetchone())

    def __iter__(self) -> Iterator[Candidate]:
        return self.behind(0)

    def behind(self, done: int) -> Iterator[Candidate]:
        """Yields those from a place on."""
        return map(_candidate, self._index.execute(f"{_JOINED} WHERE p.place >= ? ORDER BY p.place", (done,)))

    def add(self, candidate: Candidate) -> str | None:
        """Adds a picture as the last one; returns the name of another one where that has its key."""
        row = (self._count, *candidate.picture, candidate.name, *candidate.key)
        if self._index.execute("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)", row).rowcount:
            self._count += 1
            return None
        there = self._index.execute("SELECT name FROM pictures WHERE root = ? AND stem = ?", candidate.key)
        return str(there.fetchone()[0])

    def has(self, key: Key) -> bool:
        """Says whether a picture has a key."""
        found = self._index.execute("SELECT 1 FROM pictures WHERE root = ? AND stem = ?", key)
        return found.fetchone() is not None


class Layout:
    """Everything in a source, each file in exactly one place.

    Attributes:
        candidates: Pictures.
        others: How many files nobody asked for: licences, read-me files, junk of file managers.
        splits: Lists of ImageSets/Main by name, which are read later.
        meta: Says which model made the predictions.
        folders: What was seen, for the report.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        for name, columns in _TABLES.items():
            index.execute(f"CREATE TABLE {name} {columns}")
        self.candidates = Candidates(index)
        self.others = 0
        self.splits: dict[str, list[tuple[str, Entry]]] = {}
        self.meta: Entry | None = None
        self.folders: set[str] = set()

    def add_picture(self, candidate: Candidate) -> None:
        """Adds a picture."""
        other = self.candidates.add(candidate)
        if other is not None:
            message = f"{other} has the same name; annotations could mean either"
            self.add_stray(candidate.picture, "DUPLICATE_NAME", message, kind=PICTURES)

    def add_label(self, entry: Entry, key: Key, *, predicted: bool = False) -> None:
        """Adds an annotation file."""
        added = self.index.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?)", (predicted, *key, *entry))
        if not added.rowcount:
            kind = PREDICTIONS if predicted else ANNOTATIONS
            self.add_stray(entry, "DUPLICATE_NAME", f"another annotation has the name {key[1]}", kind=kind)

    def add_stray(self, entry: Entry, reason: str, message: str, *, kind: str) -> None:
        """Adds a file that is rejected: WRONG_FORMAT among pictures or annotations, or DUPLICATE_NAME."""
        self.index.execute("INSERT INTO strays VALUES (?, ?, ?, ?)", (reason, entry.name, message, kind))

    def strays(self) -> Iterator[tuple[str, str, str, str]]:
        """Yields what is rejected: reason, name, message and kind."""
        return iter(self.index.execute("SELECT reason, name, message, kind FROM strays ORDER BY reason DESC, rowid"))

    def orphans(self) -> Iterator[tuple[Entry, bool, str]]:
        """Yields annotations without a picture, whether they hold predictions, and the path without suffix."""
        found = self.index.execute(
            "SELECT name, size_bytes, handle, predicted, stem FROM labels l WHERE NOT EXISTS"
            " (SELECT 1 FROM pictures p WHERE p.root = l.root AND p.stem = l.stem) ORDER BY predicted, root, stem"
        )
        return ((Entry(*entry), bool(predicted), stem) for *entry, predicted, stem in found)

    def has_truth(self) -> bool:
        """Says whether a picture has ground truth of its own."""
        truths = "SELECT 1 FROM labels t JOIN pictures p USING (root, stem) WHERE t.predicted = 0 LIMIT 1"
        return self.index.execute(truths).fetchone() is not None


def _candidate(row: Any) -> Candidate:
    name, size, handle, path, root, stem, truth, truth_size, truth_handle, found, found_size, found_handle = row
    return Candidate(
        Entry(name, size, handle),
        path,
        (root, stem),
        None if truth is None else Entry(truth, truth_size, truth_handle),
        None if found is None else Entry(found, found_size, found_handle),
    )
