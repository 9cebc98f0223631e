"""The zip that an export writes: bytes that depend on nothing but its files."""

import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO

_EPOCH = (1980, 1, 1, 0, 0, 0)


class ExportArchive(AbstractContextManager["ExportArchive"]):
    """Adds files one by one; pictures are stored, texts are packed."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", allowZip64=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def text(self, name: str, data: bytes) -> None:
        """Adds a text file."""
        self._zip.writestr(_info(name, zipfile.ZIP_DEFLATED), data)

    def picture(self, name: str, path: Path) -> None:
        """Adds a picture file."""
        self._zip.writestr(_info(name, zipfile.ZIP_STORED), path.read_bytes())

    def stream(self, name: str) -> IO[bytes]:
        """Returns a stream into a new text file; nothing else can be added until it is closed."""
        return self._zip.open(_info(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True)


def _info(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    info.compress_type = compression
    return info
