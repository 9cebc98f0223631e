"""Opens files below /out while a run may do to them what it likes.

A link leads where a stranger likes, and on this machine, not in the stranger's container; who opens a pipe waits for
its other end. Neither is followed.
"""

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(out: Path, name: str) -> BinaryIO:
    """Opens a file by its path below a folder, to be read.

    Raises:
        OSError: It is not there, is no plain file, or a link is on the way to it.
    """
    *folders, last = PurePosixPath(name).parts
    place = os.open(out, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        return _plain(os.open(last, os.O_RDONLY | _FILE, dir_fd=place), name, "rb")
    finally:
        os.close(place)


def open_plain_to_write(path: Path) -> BinaryIO:
    """Opens a file to be written from any place on; made where it is not there, and in place of a link."""
    flags = os.O_RDWR | os.O_CREAT | _FILE
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        path.unlink(missing_ok=True)
        number = os.open(path, flags, 0o666)
    return _plain(number, path.name, "r+b")


def _plain(number: int, name: str, mode: str) -> BinaryIO:
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, mode)  # type: ignore[return-value]
    os.close(number)
    raise OSError(errno.EINVAL, "no plain file", name)
