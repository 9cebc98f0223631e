"""Bringing files into a backup and out of it: linked where that is safe, cloned where the disk can, else copied."""

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409
_CHUNK: Final = 1 << 20


def link(source: Path, target: Path) -> None:
    """Makes the target another name of a file that never changes; clones or copies where that cannot be."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
        clone(source, target)


def clone(source: Path, target: Path) -> None:
    """Makes a file of its own with the same content, sharing blocks where the filesystem can."""
    with source.open("rb") as from_file, target.open("xb") as to_file:
        try:
            fcntl.ioctl(to_file.fileno(), _FICLONE, from_file.fileno())
        except OSError:
            shutil.copyfileobj(from_file, to_file, _CHUNK)


def cut(source: Path, target: Path, *, offset: int, size_bytes: int) -> None:
    """Copies a part of a file."""
    with source.open("rb") as from_file, target.open("xb") as to_file:
        from_file.seek(offset)
        while size_bytes and (piece := from_file.read(min(_CHUNK, size_bytes))):
            to_file.write(piece)
            size_bytes -= len(piece)


def size_of(path: Path) -> int:
    """Returns how many bytes a file has."""
    return path.stat().st_size


def copy_tree(source: Path, target: Path, *, first: str = "") -> None:
    """Copies a folder of files that grow or are replaced whole, each as it is at the moment.

    Args:
        source: The folder; one that is not there is an empty one.
        target: Where it goes.
        first: File that is copied before all others: what it refers to is then surely among them.
    """
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    if first and (source / first).is_file():
        _copy(source / first, target / first)
    # What came while the first was copied.
    names = sorted({*names, *(path.relative_to(source) for path in source.rglob("*") if path.is_file())})
    for name in names:
        if str(name) != first:
            _copy(source / name, target / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        clone(source, target)
        shutil.copystat(source, target)
    except FileNotFoundError:
        target.unlink(missing_ok=True)  # a temporary that was renamed meanwhile
