"""The folder of picture blobs that an executor leaves: each file named by the sha256 of its bytes."""

import hashlib
from pathlib import Path


class BlobFolder:
    """Writes blobs once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Writes a blob and returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        self.put_as(digest, data)
        return digest

    def put_as(self, digest: str, data: bytes) -> None:
        """Writes a blob whose digest is known."""
        with open(f"{self._folder}/{digest}", "wb") as stream:  # noqa: PTH123 — pathlib takes as long as the write
            stream.write(data)
