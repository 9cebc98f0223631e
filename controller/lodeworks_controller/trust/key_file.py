"""Private keys on disk: PKCS#8 PEM, readable by their owner only, in place only when whole."""

import os
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read; durable and whole, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, data, mode=0o600)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replaces a file as a whole: temporary, sync, rename, sync of the folder."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
