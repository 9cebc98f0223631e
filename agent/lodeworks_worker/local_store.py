"""The controller's folder of content, where this machine sees it: blobs are copied from there, nothing is written."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NONCE = "nonce"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Located:
    """A blob in the folder: a range of a file, its path relative to the folder."""

    digest: str
    path: str
    offset: int
    size_bytes: int


class LocalStore:
    """Reads the folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def nonce(self) -> str:
        """Returns what proves to the controller that its folder is seen here; empty where it cannot be read."""
        try:
            return (self._root / _NONCE).read_text()
        except OSError:
            return ""

    def copy(self, blobs: Sequence[Located], folder: Path) -> set[str]:
        """Copies blobs into a folder, each named by its digest and checked; returns those that came through. Blocks."""
        return {blob.digest for blob in blobs if self._copied(blob, folder / blob.digest)}

    def _copied(self, blob: Located, target: Path) -> bool:
        part = target.with_name(f"{target.name}.local")
        try:
            source = (self._root / blob.path).resolve(strict=True)
            if not source.is_relative_to(self._root.resolve()):
                return False
            hasher = hashlib.sha256()
            left = blob.size_bytes
            with source.open("rb", buffering=0) as file, part.open("wb", buffering=0) as copy:
                os.lseek(file.fileno(), blob.offset, os.SEEK_SET)
                while left and (data := file.read(min(_CHUNK_BYTES, left))):
                    hasher.update(data)
                    copy.write(data)
                    left -= len(data)
            if left or hasher.hexdigest() != blob.digest:
                return False
            part.replace(target)
        except FileNotFoundError:
            return False
        finally:
            part.unlink(missing_ok=True)
        return True
