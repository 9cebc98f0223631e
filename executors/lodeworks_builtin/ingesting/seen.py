"""Which pictures an import has met, by digest: the file that brought the bytes first, and what later files add."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from lodeworks_builtin.ingesting.index import Index

_TRUTH: Final = 1
_PREDICTIONS: Final = 2
_MERGE: Final = 3  # numbers of a merge: first file, later file, what it adds


class Seen:
    """Pictures by digest, and the files that bring one of them again. Files are numbers: their places in the source.

    Attributes:
        places: The file of each picture, in the order in which they came.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.places = array("I")
        index.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")
        index.execute(
            "CREATE TABLE merges (first INTEGER, place INTEGER, adds INTEGER, PRIMARY KEY (first, place)) WITHOUT ROWID"
        )

    def first(self, digest: bytes) -> int | None:
        """Returns the file that brought the bytes first, None for new ones."""
        found = self._index.execute("SELECT place FROM seen WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else int(found[0])

    def add(self, digest: bytes, place: int) -> None:
        """Notes new bytes."""
        self._index.execute("INSERT INTO seen VALUES (?, ?)", (digest, place))
        self.places.append(place)

    def merge(self, first: int, place: int, *, truth: bool, predictions: bool) -> None:
        """Notes a file with the same bytes as a first one, and which labels only it has."""
        adds = _TRUTH * truth + _PREDICTIONS * predictions
        self._index.execute("INSERT INTO merges VALUES (?, ?, ?)", (first, place, adds))

    def labelled_by(self, first: int) -> tuple[int, int]:
        """Returns the files whose ground truth and whose predictions a picture has, itself where none adds any."""
        truth = predictions = first
        for place, adds in self._index.execute("SELECT place, adds FROM merges WHERE first = ? AND adds", (first,)):
            truth = place if adds & _TRUTH else truth
            predictions = place if adds & _PREDICTIONS else predictions
        return truth, predictions

    def merges(self) -> Iterator[tuple[int, list[int]]]:
        """Yields the first file of each picture that came again, and the later ones, in the order of the source."""
        found = self._index.execute("SELECT first, place FROM merges ORDER BY first, place")
        for first, rows in groupby(found, key=lambda row: int(row[0])):
            yield first, [int(place) for _, place in rows]

    def merges_to_bytes(self) -> bytes:
        """Returns all merges."""
        found = array("I")
        for row in self._index.execute("SELECT first, place, adds FROM merges ORDER BY first, place"):
            found.extend(row)
        return found.tobytes()

    def restore(self, digests: Iterable[bytes], *, places: bytes, merges: bytes, done: int) -> None:
        """Becomes what another one was after so many files; raises ValueError for what is none, and is empty then."""
        at, merged = array("I"), array("I")
        at.frombytes(places)
        merged.frombytes(merges)
        if len(merged) % _MERGE or any(
            place >= done for row in (at, merged[::_MERGE], merged[1::_MERGE]) for place in row
        ):
            raise ValueError("the mark is of another source")
        try:
            self._index.fill("INSERT INTO seen VALUES (?, ?)", zip(digests, at, strict=True))
            rows = (merged[start : start + _MERGE] for start in range(0, len(merged), _MERGE))
            self._index.fill("INSERT INTO merges VALUES (?, ?, ?)", rows)
        except Exception:
            self.clear()
            raise
        self.places = at

    def clear(self) -> None:
        """Forgets everything."""
        self._index.execute("DELETE FROM seen")
        self._index.execute("DELETE FROM merges")
        self.places = array("I")
