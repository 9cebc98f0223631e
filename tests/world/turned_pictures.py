"""Pictures that say how they are to be turned, in every format that can say it, and what they look like upright."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

_ORIENTATION = 0x0112
_EXIF_FLAG = 0x08


def scene(width: int = 64, height: int = 48) -> Image:
    """Returns a picture that looks otherwise however it is turned: a bright bar on the left, a red one at the top."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[:, : width // 4] = 220
    image[: height // 4, width // 2 :] = (20, 20, 200)
    return image


def upright(image: Image, orientation: int) -> Image:
    """Returns the picture as EXIF says that it is to be seen."""
    flipped: dict[int, Any] = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image, -1),
        7: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90(image),
    }
    return np.ascontiguousarray(flipped[orientation])


def turned(image: Image, extension: str, orientation: int) -> bytes:
    """Returns a picture of that format whose pixels are stored as they are and whose orientation is told beside."""
    if extension == "tiff":
        return _tiff(image, orientation)
    data = cv2.imencode(f".{extension}", image, [cv2.IMWRITE_WEBP_QUALITY, 100] if extension == "webp" else [])[1]
    return {"jpg": _jpeg, "png": _png, "webp": _webp}[extension](data.tobytes(), image, orientation)


def _exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", _ORIENTATION, 3, 1, orientation, 0) + b"\0\0\0\0"


def _jpeg(data: bytes, _: Image, orientation: int) -> bytes:
    block = b"Exif\0\0" + _exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def _png(data: bytes, _: Image, orientation: int) -> bytes:
    body = b"eXIf" + _exif(orientation)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]  # behind the header chunk


def _webp(data: bytes, image: Image, orientation: int) -> bytes:
    height, width = image.shape[:2]
    head = (
        struct.pack("<BBH", _EXIF_FLAG, 0, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    exif = _exif(orientation)
    chunks = b"VP8X" + struct.pack("<I", 10) + head + data[12:]
    chunks += b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _tiff(image: Image, orientation: int) -> bytes:
    """Returns an unpacked TIFF of one strip, with an orientation, which OpenCV cannot write."""
    height, width = image.shape[:2]
    pixels = image[..., ::-1].tobytes()
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (274, orientation), (277, 3)]
    tags += [(278, height), (279, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 279 else 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)
