"""Packs the checkpoint of a run, also while the run writes the next one."""

import contextlib
import os
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO

DONE = "DONE"
"""Renamed in last: its presence says that the other files are whole."""


def mark_of(folder: Path) -> bytes:
    """Returns what tells one complete checkpoint from the next; empty while there is none."""
    try:
        told = (folder / DONE).stat()
        return f"{told.st_ino}:{told.st_mtime_ns}:{told.st_size}".encode()
    except OSError:
        return b""


def pack_checkpoint(folder: Path, target: Path) -> bool:
    """Packs a complete checkpoint into a tar; says whether there was one that held still meanwhile. Blocks.

    Every file is opened before the first is read, so that one that is removed for the next checkpoint is still read
    whole. A file that is written to meanwhile, or another DONE, spoils the try: the caller comes again.
    """
    mark = mark_of(folder)
    if not mark:
        return False
    with contextlib.ExitStack() as stack:
        try:
            files = [(path.name, stack.enter_context(path.open("rb"))) for path in _plain_files(folder)]
        except OSError:
            return False
        if mark_of(folder) != mark:
            return False
        before = [_state(file) for _, file in files]
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
            for (name, file), (size_bytes, _) in zip(files, before, strict=True):
                entry = tarfile.TarInfo(name)
                entry.size = size_bytes
                try:
                    tar.addfile(entry, file)
                except OSError:
                    return False
        return [_state(file) for _, file in files] == before


def _plain_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if stat.S_ISREG(path.lstat().st_mode))


def _state(file: BinaryIO) -> tuple[int, int]:
    told = os.fstat(file.fileno())
    return told.st_size, told.st_mtime_ns
