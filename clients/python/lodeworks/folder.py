"""A folder becomes one archive on the way to the server, and an archive a folder on the way back."""

from __future__ import annotations

import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            for file in sorted(path.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    tar.add(file, arcname=file.relative_to(path).as_posix(), recursive=False, filter=_plain)
            if not tar.getmembers():
                raise InvalidError(f"the folder {path} holds no files; name one with pictures", reason="SOURCE_INVALID")
        yield archive


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


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o644
    return info


def write_file(path: Path, data: bytes) -> Path:
    """Writes a file, its folder too, and returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
