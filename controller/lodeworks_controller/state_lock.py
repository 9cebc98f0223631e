"""One controller per state folder: a lock that the kernel lets go when the process ends, and a note for others."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lodeworks_controller.errors import ConflictError

_LOCK = "controller.lock"
_NOTE = "controller.json"


@dataclass(frozen=True, slots=True)
class Note:
    """What a running controller tells of itself in its state folder."""

    pid: int
    version: str
    listen: str
    listen_agents: str
    ca_fingerprint: str


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Holds the state folder, or refuses with who does."""
    descriptor = os.open(state / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(state) from None
        yield
    finally:
        os.close(descriptor)


def write_note(state: Path, note: Note) -> None:
    """Tells others where the controller listens; whoever reads it finds it whole or not at all."""
    temporary = state / f"{_NOTE}.new"
    temporary.write_text(json.dumps(asdict(note), indent=2) + "\n")
    temporary.replace(state / _NOTE)


def read_note(state: Path) -> Note | None:
    """Returns what the controller told last; it may be gone since."""
    try:
        return Note(**json.loads((state / _NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove_note(state: Path) -> None:
    """Takes the note away."""
    (state / _NOTE).unlink(missing_ok=True)


def _taken(state: Path) -> ConflictError:
    note = read_note(state)
    where = f" (pid {note.pid}, {note.listen})" if note else ""
    return ConflictError(
        "STATE_IN_USE",
        f"a controller runs on {state} already{where}; use that one, stop it, or choose another --state",
    )
