"""Sources of an import: a zip, a tar or a folder, read entry by entry and never extracted by name.

A hostile archive is refused as a whole (FormatError): absolute or `..` names, links, devices, encryption, bombs.
"""

import bz2
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from lodeworks_formats.archive_names import safe_name
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.zip_source import ZipReader

SMALL_BYTES = 32 << 20
"""No annotation of one picture, list or description is larger."""

_BOMB_RATIO = 200
_BOMB_BYTES = 1 << 30
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)
_PACKERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


_SPAN: Final = struct.Struct("<QQ")


class Entry(NamedTuple):
    """One file of a source: its safe relative name, its unpacked size, and what the source needs to read it."""

    name: str
    size_bytes: int
    handle: bytes


class Source(Protocol):
    """An opened source."""

    def entries(self) -> Iterator[Entry]:
        """Yields every plain file, once, in any order. Raises FormatError for a hostile source."""
        ...

    def read(self, entry: Entry, *, limit: int = SMALL_BYTES) -> bytes:
        """Returns a file's bytes.

        Raises:
            FormatError: UNREADABLE_FILE when the source is damaged there, TOO_LARGE beyond the limit.
        """
        ...


@contextmanager
def opened_source(path: Path, *, options: IngestOptions, work_folder: Path) -> Iterator[Source]:
    """Opens a source by its content.

    Args:
        path: A zip, a tar (plain or packed) or a folder.
        options: The limits.
        work_folder: Where a packed tar is unpacked to, once.

    Raises:
        FormatError: BROKEN_ARCHIVE for what is none of them or is damaged.
    """
    if path.is_dir():
        yield FolderSource(path, options)
        return
    if zipfile.is_zipfile(path):
        with closing(ZipReader(path)) as reader:
            yield ZipSource(reader, options)
        return
    with ExitStack() as stack:
        with _refusing_damage(path.name):
            plain = stack.enter_context(_plain_tar(path, options, work_folder))
            tar = stack.enter_context(tarfile.open(plain, "r:"))
        yield TarSource(tar, options)


@contextmanager
def _refusing_damage(name: str) -> Iterator[None]:
    """Turns what the archive libraries raise for damaged files, which is nearly anything, into one refusal."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise FormatError("DISK_FULL", "there is no room to unpack it; free some and repeat", name) from error
        message = "the file is no zip or tar, or it is damaged; pack it again"
        raise FormatError("BROKEN_ARCHIVE", message, name) from error


class ZipSource:
    """A zip."""

    def __init__(self, reader: ZipReader, options: IngestOptions) -> None:
        self._reader = reader
        self._options = options

    def entries(self) -> Iterator[Entry]:
        """Yields every plain file in the order of the directory."""
        total = 0
        with _refusing_damage("the archive"):
            for entry in self._reader.entries():
                total += entry.size_bytes
                _refuse_bombs(total, self._reader.size_bytes, self._options)
                yield Entry(entry.name, entry.size_bytes, entry.place)

    def read(self, entry: Entry, *, limit: int = SMALL_BYTES) -> bytes:
        """Returns a file's bytes: no more than it declares, and with the checksum that it declares."""
        _refuse_large(entry, limit)
        try:
            return self._reader.read(entry.handle, name=entry.name, size_bytes=entry.size_bytes)
        except _DAMAGE as error:
            raise FormatError("UNREADABLE_FILE", f"the archive is damaged here ({error})", entry.name) from error


class TarSource:
    """A plain tar, which can be read in any order."""

    def __init__(self, archive: tarfile.TarFile, options: IngestOptions) -> None:
        self._archive = archive
        self._options = options

    def entries(self) -> Iterator[Entry]:
        """Yields every plain file in the order of the archive."""
        total = 0
        while (member := self._next()) is not None:
            name = safe_name(_text(member.name)) if member.name.strip("./") else ""
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise FormatError("LINK", "the archive holds a link or a device; pack plain files only", name)
            total += member.size
            _refuse_bombs(total, total, self._options)
            yield Entry(name, member.size, _SPAN.pack(member.offset_data, member.size))

    def _next(self) -> tarfile.TarInfo | None:
        with _refusing_damage("the archive"):
            member = self._archive.next()
        self._archive.members.clear()  # type: ignore[attr-defined] # else every header that was read is kept
        return member

    def read(self, entry: Entry, *, limit: int = SMALL_BYTES) -> bytes:
        """Returns a file's bytes."""
        _refuse_large(entry, limit)
        offset, size = _SPAN.unpack(entry.handle)
        stream = self._archive.fileobj
        assert stream is not None
        stream.seek(offset)
        data = stream.read(size)
        if len(data) != size:
            raise FormatError("UNREADABLE_FILE", "the archive was cut off here", entry.name)
        return data


class FolderSource:
    """A folder on this machine. Links are not followed and refuse the import."""

    def __init__(self, folder: Path, options: IngestOptions) -> None:
        self._folder = folder
        self._options = options

    def entries(self) -> Iterator[Entry]:
        """Yields every plain file in the order in which the file system has them."""
        total, folders = 0, [""]
        while folders:
            below = folders.pop()
            with os.scandir(self._folder / below) as found:
                for one in found:
                    path = f"{below}{one.name}"
                    name = safe_name(_text(path))
                    if one.is_dir(follow_symlinks=False):
                        folders.append(f"{path}/")
                        continue
                    status = one.stat(follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        raise FormatError("LINK", "the folder holds a link or a device; copy plain files only", name)
                    total += status.st_size
                    _refuse_bombs(total, total, self._options)
                    yield Entry(name, status.st_size, os.fsencode(path))

    def read(self, entry: Entry, *, limit: int = SMALL_BYTES) -> bytes:
        """Returns a file's bytes."""
        _refuse_large(entry, limit)
        path = os.path.join(os.fsencode(self._folder), entry.handle)  # noqa: PTH118 (its name may be no text)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as stream:
                return stream.read(limit)
        except OSError as error:
            raise FormatError("UNREADABLE_FILE", f"the file cannot be read ({error.strerror})", entry.name) from error


def _text(name: str) -> str:
    """Returns a file system's name as text; bytes that are no UTF-8 become the replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")


def _refuse_large(entry: Entry, limit: int) -> None:
    if entry.size_bytes > limit:
        message = f"the file has {entry.size_bytes >> 20} MiB, more than the {limit >> 20} that are read of its kind"
        raise FormatError("TOO_LARGE", message, entry.name)


def _refuse_bombs(total_bytes: int, packed_bytes: int, options: IngestOptions) -> None:
    if total_bytes > options.max_total_bytes:
        raise FormatError("BOMB", f"the source unpacks to more than {options.max_total_bytes >> 20} MiB")
    if total_bytes > _BOMB_BYTES and total_bytes > _BOMB_RATIO * packed_bytes:
        raise FormatError("BOMB", f"the archive unpacks to more than {_BOMB_RATIO} times its size")


@contextmanager
def _plain_tar(path: Path, options: IngestOptions, work_folder: Path) -> Iterator[Path]:
    with path.open("rb") as stream:
        magic = stream.read(6)
    opener = next((opener for start, opener in _PACKERS.items() if magic.startswith(start)), None)
    if opener is None:
        yield path
        return
    # A packed tar cannot be read in any order, so it is unpacked once, and no further than the limits allow.
    limit = min(options.max_total_bytes, max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size))
    with tempfile.TemporaryDirectory(dir=work_folder) as folder:
        plain = Path(folder, "plain.tar")
        with opener(path, "rb") as packed, plain.open("wb") as sink:
            _copy_at_most(packed, sink, limit)
        yield plain


def _copy_at_most(source: IO[bytes], sink: IO[bytes], limit: int) -> None:
    left = limit
    while chunk := source.read(1 << 20):
        left -= len(chunk)
        if left < 0:
            raise FormatError("BOMB", f"the archive unpacks to more than {limit >> 20} MiB")
        sink.write(chunk)
