"""Zips, read by their central directory: a name and 30 bytes are kept per entry, and an entry is one read.

The standard library's reader keeps some 900 bytes per entry, which for a million pictures would be gigabytes.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from lodeworks_formats.archive_names import safe_name
from lodeworks_formats.errors import FormatError

_END: Final = struct.Struct("<4s4H2LH")
_END64_PLACE: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_PLACE: Final = struct.Struct("<QQIH")
_END_SIGN, _END64_PLACE_SIGN, _END64_SIGN = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_ENTRY_SIGN, _LOCAL_SIGN = b"PK\1\2", b"PK\3\4"
_LONGEST_END: Final = 22 + 0xFFFF
_WIDE_EXTRA: Final = 1
_WIDE: Final = 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 0x1, 0x800
_STORED, _DEFLATED = 0, 8
_SLACK: Final = 128  # what stands before the bytes of an entry beside its name: one read mostly suffices
_DEFLATE_MORE: Final = 1024  # what packing can add to bytes that do not pack


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One entry: its safe name, its size (bytes) unpacked, and where it lies, packed small."""

    name: str
    size_bytes: int
    place: bytes


class ZipReader:
    """Reads entries of a zip file by their places.

    Args:
        path: The file.

    Raises:
        zipfile.BadZipFile, struct.error, OSError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb", buffering=0)
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def entries(self) -> Iterator[ZipEntry]:
        """Yields every plain file in the order of the directory.

        Raises:
            FormatError: UNSAFE_NAME, LINK or ENCRYPTED.
            zipfile.BadZipFile, struct.error, OSError: The directory is damaged.
        """
        start, size_bytes, shift = self._directory()
        with self._path.open("rb", buffering=1 << 20) as stream:
            stream.seek(start)
            left = size_bytes
            while left > 0:
                head = stream.read(_ENTRY.size)
                sign, _, _, flags, method, _, _, crc, packed, size, *more = _ENTRY.unpack(head)
                name_bytes, extra_bytes, comment_bytes, _, _, mode, offset = more
                if sign != _ENTRY_SIGN:
                    raise zipfile.BadZipFile("the directory is damaged")
                raw, extra = stream.read(name_bytes), stream.read(extra_bytes)
                stream.seek(comment_bytes, os.SEEK_CUR)
                left -= _ENTRY.size + name_bytes + extra_bytes + comment_bytes
                text = raw.decode("utf-8" if flags & _UTF8 else "cp437").partition("\0")[0]
                name = safe_name(text)
                if text.endswith("/"):
                    continue
                _refuse_odd(name, mode=mode >> 16, flags=flags)
                if _WIDE in (size, packed, offset):
                    size, packed, offset = _wide(extra, size, packed, offset)
                yield ZipEntry(name, size, _PLACE.pack(offset + shift, packed, crc, method))

    def read(self, place: bytes, *, name: str, size_bytes: int) -> bytes:
        """Returns the bytes of an entry, no more than it declares and checked by its CRC.

        Raises:
            zipfile.BadZipFile, zlib.error, struct.error, OSError: It is damaged.
        """
        offset, packed, crc, method = _PLACE.unpack(place)
        if method not in (_STORED, _DEFLATED):
            return self._read_rare(offset, size_bytes)
        if packed > size_bytes + (size_bytes >> 10) + _DEFLATE_MORE:
            raise zipfile.BadZipFile("it is longer packed than unpacked")
        ahead = _LOCAL.size + len(name) + _SLACK + packed
        data = os.pread(self._file.fileno(), ahead, offset)
        sign, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(data)
        if sign != _LOCAL_SIGN:
            raise zipfile.BadZipFile("the entry is not where the directory says")
        start = _LOCAL.size + name_bytes + extra_bytes
        found = data[start : start + packed]
        if len(found) < packed:
            found = os.pread(self._file.fileno(), packed, offset + start)
        if method == _DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            found = unpacker.decompress(found, size_bytes + 1)
        if len(found) != size_bytes:
            raise zipfile.BadZipFile("it unpacks to another size than it declares")
        if zlib.crc32(found) != crc:
            raise zipfile.BadZipFile("its bytes have another checksum than it declares")
        return found

    def _read_rare(self, offset: int, size_bytes: int) -> bytes:
        """Reads what is packed by bzip2 or lzma, with the standard library's reader."""
        with zipfile.ZipFile(self._path) as archive:
            info = next((info for info in archive.infolist() if info.header_offset == offset), None)
            if info is None:
                raise zipfile.BadZipFile("the entry is not where the directory says")
            with archive.open(info) as stream:
                return stream.read(size_bytes)

    def _directory(self) -> tuple[int, int, int]:
        """Returns where the directory begins, how long it is, and by how much all places are shifted."""
        handle = self._file.fileno()
        first = max(0, self.size_bytes - _LONGEST_END)
        tail = os.pread(handle, _LONGEST_END, first)
        at = _end_in(tail)
        _, *_, size_bytes, offset, _ = _END.unpack_from(tail, at)
        end = first + at
        place = os.pread(handle, _END64_PLACE.size, end - _END64_PLACE.size) if end >= _END64_PLACE.size else b""
        if len(place) == _END64_PLACE.size and place.startswith(_END64_PLACE_SIGN):
            end -= _END64_PLACE.size + _END64.size
            wide = _END64.unpack(os.pread(handle, _END64.size, max(0, end)))
            if wide[0] != _END64_SIGN:
                raise zipfile.BadZipFile("its end is damaged")
            size_bytes, offset = wide[-2], wide[-1]
        start = end - size_bytes
        if start < 0 or start < offset:
            raise zipfile.BadZipFile("its directory does not fit into it")
        return start, size_bytes, start - offset


def _end_in(tail: bytes) -> int:
    """Returns where the end record stands: the last one whose comment ends with the file, else the last one."""
    last = at = tail.rfind(_END_SIGN)
    while at >= 0:
        if at + _END.size + int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little") == len(tail):
            return at
        at = tail.rfind(_END_SIGN, 0, at)
    if last < 0:
        raise zipfile.BadZipFile("it has no end of a zip")
    return last


def _refuse_odd(name: str, *, mode: int, flags: int) -> None:
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise FormatError("LINK", "the archive holds a link or a device; pack plain files only", name)
    if flags & _ENCRYPTED:
        raise FormatError("ENCRYPTED", "the archive is encrypted; pack it without a password", name)


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Returns sizes and place of an entry from its zip64 field, where they did not fit."""
    while len(extra) >= 4:  # noqa: PLR2004 — id and length
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _WIDE_EXTRA:
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            found = [next(numbers, _WIDE) if value == _WIDE else value for value in (size, packed, offset)]
            return found[0], found[1], found[2]
        extra = extra[4 + length :]
    return size, packed, offset
