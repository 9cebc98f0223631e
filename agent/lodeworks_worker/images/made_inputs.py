"""What a check gives an image to work on: made pictures with boxes, as views that the worker stages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_file
from lodeworks_formats.pictures import Picture

from lodeworks_worker.control_plane import LocalFile, Scope
from lodeworks_worker.errors import BlobError
from lodeworks_worker.grant import Input
from lodeworks_worker.staging.place import place

CLASS_NAMES = ("bright", "dark")
_WIDTH, _HEIGHT = 160, 120
_BRIGHT, _DARK, _GROUND = 230, 25, 120


@dataclass(slots=True)
class LocalTransfer:
    """Content that is on this machine already, by digest; nothing leaves it."""

    files: dict[str, Path] = field(default_factory=dict)

    async def fetch(self, scope: Scope, wanted: Mapping[str, int], *, folder: Path) -> None:
        """Copies files into a folder."""
        del scope
        for digest in wanted:
            if digest not in self.files:
                raise BlobError(f"there is no blob {digest}")
            place(self.files[digest], folder / digest, read_only_in=False)

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        """Keeps nothing."""

    def add(self, path: Path) -> tuple[str, int]:
        """Takes a file in and returns its digest and size."""
        digest = sha256_file(path)
        self.files[digest] = path
        return digest, path.stat().st_size


def made_pictures(transfer: LocalTransfer, folder: Path, *, seeds: Sequence[int]) -> list[Picture]:
    """Draws a bright and a dark rectangle per picture; every fifth picture has none."""
    import cv2  # noqa: PLC0415 - an idle worker has no OpenCV
    import numpy as np  # noqa: PLC0415

    found = []
    for seed in seeds:
        image = np.random.default_rng(seed).integers(_GROUND - 20, _GROUND + 20, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)
        boxes = () if seed % 5 == 4 else _boxes(seed)  # noqa: PLR2004 - every fifth
        for box in boxes:
            shade = _BRIGHT if box.class_name == CLASS_NAMES[0] else _DARK
            image[int(box.y) : int(box.y + box.h), int(box.x) : int(box.x + box.w)] = shade
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        path = folder / f"{hashlib.sha256(data.tobytes()).hexdigest()}.jpg"
        path.write_bytes(data.tobytes())
        digest, size_bytes = transfer.add(path)
        found.append(Picture(digest, "jpg", _WIDTH, _HEIGHT, size_bytes=size_bytes, boxes=boxes))
    return found


def made_view(transfer: LocalTransfer, folder: Path, role: str, pictures: Sequence[Picture]) -> Input:
    """Writes pictures as the view of a role."""
    from lodeworks_formats.segments import write_pictures  # noqa: PLC0415 - an idle worker has no pyarrow

    path = folder / f"{role}.parquet"
    write_pictures(path, pictures, class_names=CLASS_NAMES)
    return Input(role, *transfer.add(path))


def _boxes(seed: int) -> tuple[Box, ...]:
    step = seed * 7 % 40
    return (
        Box(CLASS_NAMES[0], 5.0 + step, 10.0 + step / 2, 40.0, 30.0),
        Box(CLASS_NAMES[1], 100.0 - step / 2, 60.0 - step / 4, 35.0, 45.0),
    )
