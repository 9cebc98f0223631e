"""A file that arrives in ranges, in any order, and remembers across processes which of them it has.

Beside ``<name>.part`` lies ``<name>.part.ranges``: a line "start end" for each piece, written after the piece. A part
without that file is a beginning without gaps. Both go when the whole is in place.
"""

import ctypes
import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from lodeworks.channel.spans import Spans

_CHUNK_BYTES: Final = 1 << 20
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE
_BLOCK_BYTES: Final = 512  # unit of st_blocks, whatever the file system's own blocks are
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class PartFile:
    """The part of one file. Every method may block, and may be called in any thread.

    Args:
        path: Where the whole will lie; its folder exists.
        size_bytes: Length of the whole.

    Raises:
        OSError: The disk refused, ENOSPC where it has no room for the whole.
    """

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._part = path.with_name(f"{path.name}.part")
        self._ranges = path.with_name(f"{path.name}.part.ranges")
        self._hasher = hashlib.sha256()
        self._hashed_bytes = 0
        # Who is cancelled leaves a thread behind that may still write: it must not meet another file's descriptor.
        self._lock = Lock()
        self._file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._journal = -1
        try:
            self._spans = Spans(self._left_by_an_earlier_try())
            claim_space(self._file, size_bytes=size_bytes)
            self._journal = os.open(self._ranges, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            self._note(0, self._spans.prefix_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def there_bytes(self) -> int:
        """How much of the whole is there."""
        return self._spans.total_bytes

    @property
    def hashed_bytes(self) -> int:
        """How much of the beginning is hashed."""
        return self._hashed_bytes

    @property
    def prefix_bytes(self) -> int:
        """How much of the beginning is there without a gap."""
        return self._spans.prefix_bytes

    def missing(self, *, longest_bytes: int) -> Iterator[tuple[int, int]]:
        """Yields (start, end) of what is not there, in order, in ranges of at most so many bytes."""
        return self._spans.gaps(self._size_bytes, longest_bytes=longest_bytes)

    def write(self, offset: int, data: bytes) -> None:
        """Puts bytes at their place, and remembers that they are there."""
        with self._lock:
            if self._file < 0:
                return
            rest, position = memoryview(data), offset
            while rest:
                written = os.pwrite(self._file, rest, position)
                rest, position = rest[written:], position + written
            self._note(offset, position)
            self._spans.add(offset, position)

    def hash_prefix(self) -> None:
        """Hashes on, as far as the beginning is there."""
        end = self.prefix_bytes
        while self._hashed_bytes < end:
            with self._lock:
                if self._file < 0:
                    return
                data = os.pread(self._file, min(_CHUNK_BYTES, end - self._hashed_bytes), self._hashed_bytes)
            self._hasher.update(data)
            self._hashed_bytes += len(data)

    def seal(self) -> str:
        """Makes the bytes durable; returns the sha256 of the whole, in hex."""
        os.fsync(self._file)
        self.hash_prefix()
        return self._hasher.hexdigest()

    def publish(self) -> None:
        """Puts the whole in its place, durably."""
        self._ranges.unlink(missing_ok=True)  # first: a whole part without it is a whole beginning
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Removes what is there."""
        self._ranges.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of the files, which stay."""
        with self._lock:
            for handle in (self._file, self._journal):
                if handle >= 0:
                    os.close(handle)
            self._file = self._journal = -1

    def _left_by_an_earlier_try(self) -> list[tuple[int, int]]:
        there_bytes = os.fstat(self._file).st_size
        if there_bytes > self._size_bytes:  # of something else: worthless
            os.ftruncate(self._file, 0)
            there_bytes = 0
        if there_bytes == 0:
            self._ranges.unlink(missing_ok=True)
        if not self._ranges.exists():
            return [(0, there_bytes)]
        found = list[tuple[int, int]]()
        for line in self._ranges.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # else cut off by the kill, as the piece may be
                with suppress(ValueError):
                    start, end = map(int, line.split())
                    found.append((start, min(end, there_bytes)))
        return found

    def _note(self, start: int, end: int) -> None:
        if end > start:
            os.write(self._journal, b"%d %d\n" % (start, end))


def claim_space(handle: int, *, size_bytes: int) -> None:
    """Claims the disk blocks of a whole file without changing its length: a full disk shows before bytes move.

    Where the file system cannot claim ahead, nothing happens; the bytes themselves will show then.

    Raises:
        OSError: There is no room (ENOSPC, EDQUOT); nothing is claimed.
    """
    file, disk = os.fstat(handle), os.fstatvfs(handle)
    there_bytes = file.st_size
    # Asked for more than there is, some file systems claim all of it before they refuse. What an earlier try claimed
    # is the file's already, written or not.
    if size_bytes - max(there_bytes, file.st_blocks * _BLOCK_BYTES) > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if size_bytes == 0 or fallocate is None:
        return
    if fallocate(handle, _KEEP_SIZE, ctypes.c_longlong(0), ctypes.c_longlong(size_bytes)) == 0:
        return
    number = ctypes.get_errno()
    if number in _FULL:
        os.ftruncate(handle, there_bytes)
        raise OSError(number, os.strerror(number))
