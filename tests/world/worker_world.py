"""A controller in a dictionary and made pictures: what a worker's unit tests stand on."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import write_pictures
from lodeworks_worker.control_plane import LocalFile, Scope
from lodeworks_worker.errors import BlobError
from lodeworks_worker.grant import Input


class DictionaryTransfer:
    """Blobs in memory. Counts what travels."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.sent: list[str] = []

    def add(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def input(self, role: str, data: bytes) -> Input:
        return Input(role=role, digest=self.add(data), size_bytes=len(data))

    async def fetch(self, scope: Scope, wanted: Mapping[str, int], *, folder: Path) -> None:
        for digest in wanted:
            if digest not in self.blobs:
                raise BlobError(f"blob {digest} is not there")
            self.fetched.append(digest)
            (folder / digest).write_bytes(self.blobs[digest])

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        for file in files:
            if file.digest not in self.blobs:
                self.sent.append(file.digest)
                self.blobs[file.digest] = file.path.read_bytes()


def made_picture(
    transfer: DictionaryTransfer,
    seed: int,
    *,
    width: int = 64,
    height: int = 48,
    boxes: tuple[Box, ...] | None = None,
    extension: str = "jpg",
) -> Picture:
    """Returns a picture of noise whose bytes the transfer has."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    fine, data = cv2.imencode(f".{extension}", noise)
    assert fine
    digest = transfer.add(data.tobytes())
    return Picture(digest=digest, extension=extension, width=width, height=height, size_bytes=len(data), boxes=boxes)


def made_view(
    transfer: DictionaryTransfer, role: str, pictures: Sequence[Picture], *, folder: Path, class_names: Sequence[str]
) -> Input:
    """Returns a view of pictures as an input."""
    path = folder / f"{role}.parquet"
    write_pictures(path, pictures, kind="view", class_names=class_names, class_map_revision=1)
    return transfer.input(role, path.read_bytes())
