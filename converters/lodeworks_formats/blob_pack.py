"""Packs: small blobs one behind another in one file, as a run hands them to its worker.

A file of its own per picture costs several times what reading the picture costs: to make, to find and to remove it.

    PackWriter(folder).put(digest, data)     .flush() makes what was put visible
    packs(folder) -> names of whole packs, in their order      packed_blobs(folder, name) -> list[PackedBlob]

`NAME.pack` holds the bytes, `NAME.index` a line `DIGEST SIZE` for each; the index appears last, by a rename.
"""

import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from lodeworks_formats.errors import FormatError

PACK_BYTES: Final = 3_000_000
"""About what a pack holds, and what one message carries."""

PACKED_BYTES: Final = 256 << 10
"""Larger blobs are files of their own, named by their digest."""

_PACK, _INDEX = ".pack", ".index"
_INDEX_BYTES: Final = 16 << 20
_LINE: Final = re.compile(rb"([0-9a-f]{64}) ([0-9]{1,10})\n")


@dataclass(frozen=True, slots=True)
class PackedBlob:
    """A blob in a pack: its sha256 in hex, where it begins and how long it is (bytes)."""

    digest: str
    offset: int
    size_bytes: int


class PackWriter:
    """Writes packs into a folder, behind those that are there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 1 + max((int(name) for name in packs(folder) if name.isdecimal()), default=0)
        self._stream: IO[bytes] | None = None
        self._lines: list[str] = []
        self._size_bytes = 0

    def put(self, digest: str, data: bytes) -> None:
        """Adds a blob to the pack that is being written."""
        if self._stream is None:
            self._stream = (self._folder / f"{self._number:08}{_PACK}").open("wb")
        self._stream.write(data)
        self._lines.append(f"{digest} {len(data)}\n")
        self._size_bytes += len(data)
        if self._size_bytes >= PACK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Ends the pack that is being written: whoever takes packs sees it from now on."""
        if self._stream is None:
            return
        self._stream.close()
        index = self._folder / f".{self._number:08}{_INDEX}"
        index.write_text("".join(self._lines), encoding="ascii")
        index.replace(self._folder / f"{self._number:08}{_INDEX}")
        self._stream, self._lines, self._size_bytes = None, [], 0
        self._number += 1

    def close(self) -> None:
        """Lets go of a pack that was not ended; nobody sees it."""
        if self._stream is not None:
            self._stream.close()


def packs(folder: Path) -> list[str]:
    """Returns the names of the packs that are whole, in their order; links are none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        indices = (path for path in folder.iterdir() if path.suffix == _INDEX and not path.name.startswith("."))
        return sorted(path.stem for path in indices if _is_file(path) and _is_file(path.with_suffix(_PACK)))
    return []


def pack_path(folder: Path, name: str) -> Path:
    """Returns the file that holds a pack's bytes."""
    return folder / f"{name}{_PACK}"


def packed_blobs(folder: Path, name: str) -> list[PackedBlob]:
    """Returns what a pack holds, in its order.

    Raises:
        FormatError: BAD_PACK where index and pack do not agree.
    """
    index, found, offset = folder / f"{name}{_INDEX}", [], 0
    with index.open("rb") as stream:
        lines = stream.read(_INDEX_BYTES)
    for line in lines.splitlines(keepends=True):
        told = _LINE.fullmatch(line)
        if told is None:
            raise FormatError("BAD_PACK", "a line of the index is no digest and size", index.name)
        found.append(PackedBlob(told[1].decode(), offset, int(told[2])))
        offset += int(told[2])
    if offset != pack_path(folder, name).stat().st_size:
        raise FormatError("BAD_PACK", "the pack has another length than its index says", index.name)
    return found


def remove_pack(folder: Path, name: str) -> None:
    """Removes a pack, the index first, so that no half of it is taken for a whole one."""
    (folder / f"{name}{_INDEX}").unlink(missing_ok=True)
    pack_path(folder, name).unlink(missing_ok=True)


def is_packed_name(name: str) -> bool:
    """Says whether a file name is that of a pack or its index."""
    return name.endswith((_PACK, _INDEX))


def read_packed(folder: Path) -> dict[str, bytes]:
    """Returns all blobs of a folder by digest, those in packs and those with a file of their own. For small folders."""
    found: dict[str, bytes] = {}
    for name in packs(folder):
        data = pack_path(folder, name).read_bytes()
        found |= {one.digest: data[one.offset : one.offset + one.size_bytes] for one in packed_blobs(folder, name)}
    alone = (path for path in folder.iterdir() if not is_packed_name(path.name) and not path.name.startswith("."))
    return found | {path.name: path.read_bytes() for path in alone}


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
