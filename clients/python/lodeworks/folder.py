"""A folder becomes one archive on the way to the server, and an archive a folder on the way back."""

from __future__ import annotations

import heapq
import json
import os
import stat
import tarfile
import tempfile
import zipfile
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def archive_of(path: Path) -> Iterator[Path]:
    """Yields a file that holds the source: the file itself, or a tar of the folder.

    The tar depends on names and contents alone, so that the same folder is the same blob and an interrupted upload
    goes on where it stopped. Symbolic links are left out.

    Raises:
        InvalidError: The source is not there, or an empty folder.
    """
    if not path.exists():
        raise InvalidError(f"{path} is not there; name a zip file or a folder", reason="SOURCE_INVALID")
    if path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lodeworks-") as folder:
        archive = Path(folder) / "source.tar"
        if not pack(path, archive):
            raise InvalidError(f"the folder {path} holds no files; name one with pictures", reason="SOURCE_INVALID")
        yield archive


def pack(folder: Path, archive: Path, *, names_at_once: int = 10_000) -> int:
    """Writes a tar of a folder's plain files in the order of their names and returns how many there are.

    Memory does not grow with them: of longer lists of names all but `names_at_once` wait beside the archive.
    """
    count = 0
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in _names_below(folder, scratch=archive.parent, at_once=names_at_once):
            info = tarfile.TarInfo(name)
            with os.fdopen(os.open(f"{folder}/{name}", os.O_RDONLY), "rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                tar.addfile(info, file)
            tar.members.clear()  # type: ignore[attr-defined] # else every header that was written is kept
            count += 1
    return count


def size_of(path: Path) -> int:
    """Returns how many bytes a file has, or all plain files below a folder have."""
    if path.is_file():
        return path.stat().st_size
    total, folders = 0, [path]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _names_below(folder: Path, *, scratch: Path, at_once: int) -> Iterator[str]:
    """Yields the paths of plain files below a folder, in order."""
    with ExitStack() as runs:
        for name in _sorted_names(folder, scratch=scratch, at_once=at_once, runs=runs):
            status = os.lstat(f"{folder}/{name}")
            if stat.S_ISDIR(status.st_mode):
                for below in _names_below(folder / name, scratch=scratch, at_once=at_once):
                    yield f"{name}/{below}"
            elif stat.S_ISREG(status.st_mode):
                yield name


def _sorted_names(folder: Path, *, scratch: Path, at_once: int, runs: ExitStack) -> Iterable[str]:
    """Returns the names in a folder in order; sorted runs of long lists become temporary files, which are merged."""
    waiting: list[Iterable[str]] = []
    with os.scandir(folder) as entries:
        rest = (entry.name for entry in entries)
        while len(names := sorted(islice(rest, at_once))) == at_once:
            opened = tempfile.TemporaryFile("w+", encoding="ascii", dir=scratch)  # noqa: SIM115 (closed with the runs)
            run = runs.enter_context(opened)
            run.writelines(json.dumps(name) + "\n" for name in names)
            run.seek(0)
            waiting.append(map(json.loads, run))
    return heapq.merge(*waiting, names) if waiting else names


def is_address(source: str) -> bool:
    """Says whether a source is an address rather than a path."""
    return source.startswith(("http://", "https://"))


def source_name(path: Path) -> str:
    """Returns the name of a file or folder, of the one that `.` stands for too."""
    return path.absolute().name or path.resolve().name


def download_place(out: str, *, digest: str) -> tuple[Path, Path | None]:
    """Returns where an archive of the server goes, and the folder to unpack it into if `out` is one or ends in /."""
    path = Path(out)
    if not out.endswith("/") and not path.is_dir():
        return path, None
    path.mkdir(parents=True, exist_ok=True)
    return path / f".{digest[:16]}.zip", path


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip of the server into a folder and removes it; zipfile keeps every name below the folder."""
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            packed.extract(name, folder)
    archive.unlink()


def write_file(path: Path, data: bytes) -> Path:
    """Writes a file, its folder too, and returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
