"""The exchange form in the making, part by part, with marks to go on from: a run that was killed goes on at the last.

A mark is the checkpoint of the run: the parts written so far, and what the importer knew then (`state.json`,
`places.bin`, `merges.bin`). It holds for the same source read with the same options; for any other it is left alone.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final

from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import read_picture_batches, read_pictures, write_picture_batches, write_pictures

from lodeworks_builtin.ingesting.importer import Importer
from lodeworks_builtin.pace import Progress

PART_PICTURES: Final = 4096
"""Pictures of a part, which is also a row group of the exchange form."""

_PART_S: Final = 10.0
_MOST_PARTS: Final = 200  # the worker opens all files of a mark at once
_MARK_EVERY_S: Final = 5.0
_VERSION: Final = 2
_STATE, _PLACES, _MERGES = "state.json", "places.bin", "merges.bin"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a part ends, parts become one and a mark is left; `timer` counts seconds."""

    part_pictures: int = PART_PICTURES
    most_parts: int = _MOST_PARTS
    part_s: float = _PART_S
    mark_every_s: float = _MARK_EVERY_S
    timer: Callable[[], float] = time.monotonic


class Parts:
    """Parts of one exchange form in a folder of their own.

    Args:
        folder: Where the parts lie until they are joined.
        importer: Whose pictures they hold.
        identity: What tells this source, read in this way, from any other.
        checkpoint: Where marks are left and found; None leaves none.
        rhythm: How often.
    """

    def __init__(
        self, folder: Path, importer: Importer, *, identity: str, checkpoint: Checkpoint | None, rhythm: Rhythm
    ) -> None:
        self._folder = folder
        self._importer = importer
        self._identity = identity
        self._checkpoint = checkpoint
        self._rhythm = rhythm
        self._paths: list[Path] = []
        self._marked_at: float | None = None

    @classmethod
    @contextmanager
    def beside(
        cls,
        exchange: Path,
        importer: Importer,
        *,
        identity: str,
        checkpoint: Checkpoint | None = None,
        rhythm: Rhythm | None = None,
    ) -> Iterator["Parts"]:
        """Yields parts that lie beside the file they will become; they are removed at the end."""
        with tempfile.TemporaryDirectory(prefix=".parts-", dir=exchange.parent) as folder:
            yield cls(Path(folder), importer, identity=identity, checkpoint=checkpoint, rhythm=rhythm or Rhythm())

    def take_up(self) -> int:
        """Goes on from the mark of an earlier run, if it is of this source; returns how many files are done with."""
        found = None if self._checkpoint is None else self._checkpoint.find()
        if found is None:
            return 0
        try:
            state = json.loads(found.files[_STATE].read_bytes())
            if (state["version"], state["identity"]) != (_VERSION, self._identity):
                return 0
            parts = [found.files[f"part-{number}"] for number in range(int(state["parts"]))]
            paths = [self._taken(path, number) for number, path in enumerate(parts)]
            digests = (row for path in paths for row in _digests(path))
            places, merges = (found.files[name].read_bytes() for name in (_PLACES, _MERGES))
            self._importer.restore(state, digests=digests, places=places, merges=merges)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, FormatError):
            return 0  # what cannot be read is of no use: the import begins anew
        self._paths = paths
        return self._importer.done

    def write(self, progress: Progress) -> None:
        """Writes the pictures of the importer, and leaves marks on the way."""
        pictures = self._importer.pictures(progress)
        for first in pictures:
            path = self._path(len(self._paths))
            write_pictures(path, self._one_part(chain((first,), pictures)), kind="exchange")
            self._paths.append(path)
            self._make_fewer()
            self._leave_mark()
        self._importer.flush()

    def join(self, exchange: Path) -> int:
        """Makes the exchange form of the parts, with what identical pictures add; returns how many pictures it has."""
        part = exchange.with_name(exchange.name + ".part")
        if self._importer.has_merges:
            every = (picture for path in self._paths for picture in read_pictures(path))
            count = write_pictures(part, self._importer.merged(every), kind="exchange")
        else:
            count = self._write_joined(part)
        part.replace(exchange)
        return count

    def _write_joined(self, path: Path) -> int:
        batches = (batch for part in self._paths for batch in read_picture_batches(part))
        return write_picture_batches(path, batches, kind="exchange")

    def _make_fewer(self) -> None:
        """Makes one part of very many, under the name of the first."""
        if len(self._paths) < self._rhythm.most_parts:
            return
        joined = self._folder / ".joined"
        self._write_joined(joined)
        first, *others = self._paths
        joined.replace(first)
        for path in others:
            path.unlink()
        self._paths = [first]

    def _one_part(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        end = self._rhythm.timer() + self._rhythm.part_s
        for picture in islice(pictures, self._rhythm.part_pictures):
            yield picture
            if self._rhythm.timer() > end:
                return

    def _leave_mark(self) -> None:
        now = self._rhythm.timer()
        soon = self._marked_at is not None and now - self._marked_at < self._rhythm.mark_every_s
        if self._checkpoint is None or soon:
            return
        self._marked_at = now
        self._importer.flush()
        state = {"version": _VERSION, "identity": self._identity, "parts": len(self._paths), **self._importer.state()}
        with self._checkpoint.saving(f"{self._importer.done}") as folder:
            for number, path in enumerate(self._paths):
                os.link(path, folder / f"part-{number}")
            (folder / _MERGES).write_bytes(self._importer.merges())
            (folder / _PLACES).write_bytes(self._importer.places())
            (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")

    def _taken(self, path: Path, number: int) -> Path:
        target = self._path(number)
        target.write_bytes(path.read_bytes())
        return target

    def _path(self, number: int) -> Path:
        return self._folder / f".part-{number}"  # hidden: no output of the run


def _digests(path: Path) -> Iterator[bytes]:
    for batch in read_picture_batches(path, columns=["digest"]):
        yield from batch.column(0).to_pylist()
