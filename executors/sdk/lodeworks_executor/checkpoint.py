"""Checkpoints: what lets the next attempt go on where this one was killed."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_executor.writing import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DONE = "DONE"


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A complete checkpoint: its label and its files by name."""

    label: str
    files: Mapping[str, Path]


class Checkpoint:
    """The checkpoint folders of a run: one to resume from, one to write.

    DONE names the files of the last complete checkpoint and is replaced by one rename, so that a kill at any moment
    leaves either the old checkpoint or the new one.
    """

    def __init__(self, *, inputs: Path, outputs: Path) -> None:
        self._inputs = inputs
        self._outputs = outputs

    def find(self) -> SavedCheckpoint | None:
        """Returns the newest complete checkpoint: this run's own, else the one handed in, else None."""
        return _read(self._outputs) or _read(self._inputs)

    @contextmanager
    def saving(self, label: str) -> Iterator[Path]:
        """Gives a folder to write files into; they become the checkpoint when the block ends without an error.

        Files only, no folders within; the label must differ from that of the checkpoint before.
        """
        self._outputs.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".saving-", dir=self._outputs))
        try:
            yield work
            files = {}
            for path in sorted(work.iterdir()):
                stored = f"{label}-{path.name}"
                path.replace(self._outputs / stored)
                files[path.name] = stored
            write_atomically(self._outputs / _DONE, json.dumps({"label": label, "files": files}).encode())
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for path in self._outputs.iterdir():
            if path.is_file() and path.name != _DONE and path.name not in files.values():
                path.unlink()


def _read(folder: Path) -> SavedCheckpoint | None:
    try:
        done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        files = {str(name): folder / Path(str(stored)).name for name, stored in done["files"].items()}
        label = str(done["label"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return SavedCheckpoint(label, files) if all(path.is_file() for path in files.values()) else None
