"""Writing into the store's folders: durable, atomic, and clear about a full disk."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lodeworks_controller.errors import ConflictError, ExhaustedError

FreeBytes = Callable[[Path], int]
"""Returns how many bytes an ordinary user may still write to the filesystem of a path."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FEW_FOLDERS: Final = 8
_START_WRITING: Final = 2  # SYNC_FILE_RANGE_WRITE


def free_bytes(path: Path) -> int:
    """Returns how many bytes an ordinary user may still write to the filesystem of a path."""
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


@contextmanager
def full_disk_as_refusal() -> Iterator[None]:
    """Turns "no space left" into ExhaustedError DISK_FULL; every other error of the disk passes."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full() from error
        raise


def unproved() -> ConflictError:
    """Returns the refusal for a worker that does not show that it sees the store's folder."""
    return ConflictError(
        "STORE_UNPROVED", "the folder named by --store is not this store's; leave --store out, or name the right one"
    )


def disk_full() -> ExhaustedError:
    """Returns the refusal for a disk without room."""
    return ExhaustedError(
        "DISK_FULL", "the controller's disk is full; make room and repeat, nothing was kept half done"
    )


def sync_file(path: Path) -> None:
    """Makes a file's bytes durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def begin_writing_back(handle: int, *, offset: int, size_bytes: int) -> None:
    """Lets the kernel begin to write a range of a file to its disk, so that the sync at the end finds little left.

    A hint: nothing waits for it, and where it is not known nothing happens.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(handle, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _START_WRITING)


def sync_folder(folder: Path) -> None:
    """Makes a folder's names durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_filesystem(folder: Path) -> None:
    """Makes everything on the folder's filesystem durable: one call for a batch, instead of one per file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed")
    except AttributeError:  # not Linux
        os.sync()
    finally:
        os.close(handle)


def sync_files(paths: list[Path], *, folder: Path) -> None:
    """Makes the bytes of several files in a folder durable, with the fewest calls."""
    if len(paths) <= _FEW_FOLDERS:
        for path in paths:
            sync_file(path)
    else:
        sync_filesystem(folder)


def sync_folders(folders: Iterable[Path], *, root: Path) -> None:
    """Makes the names in several folders below a root durable, with the fewest calls."""
    distinct = set(folders)
    if len(distinct) <= _FEW_FOLDERS:
        for folder in distinct:
            sync_folder(folder)
    else:
        sync_filesystem(root)
