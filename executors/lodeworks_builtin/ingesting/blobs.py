"""The folder of picture blobs that an executor leaves: small ones in packs, large ones named by their sha256."""

import hashlib
from pathlib import Path

from lodeworks_formats.blob_pack import PACKED_BYTES, PackWriter


class BlobFolder:
    """Writes blobs once each. What was put is seen by others after `flush`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._packs = PackWriter(folder)

    def put(self, data: bytes) -> str:
        """Writes a blob and returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        self.put_as(digest, data)
        return digest

    def put_as(self, digest: str, data: bytes) -> None:
        """Writes a blob whose digest is known."""
        if len(data) <= PACKED_BYTES:
            self._packs.put(digest, data)
        else:
            (self._folder / digest).write_bytes(data)

    def flush(self) -> None:
        """Lets everybody see what was put."""
        self._packs.flush()

    def close(self) -> None:
        """Lets go of what was not flushed."""
        self._packs.close()
