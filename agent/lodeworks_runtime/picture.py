"""Decoding of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import MAX_PIXELS, probe_picture

from lodeworks_runtime.errors import PictureError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_picture(data: bytes | bytearray | memoryview, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Returns the picture upright, as [H, W, 3] in the order blue, green, red.

    The orientation of EXIF is applied, grey becomes three equal channels, transparency is dropped, sixteen bits become
    eight. Raises PictureError when the bytes cannot be decoded, end too early, or would unfold to more than
    `max_pixels`: a few kilobytes can claim gigabytes.
    """
    whole = data if isinstance(data, bytes) else bytes(data)
    try:
        probe_picture(whole, max_pixels=max_pixels)
    except FormatError as error:
        raise PictureError(f"{error}: send a sound JPEG, PNG, BMP, WebP or TIFF file") from error
    try:
        image = cv2.imdecode(np.frombuffer(whole, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(f"the picture cannot be decoded ({error.err or error}): send a sound file") from error
    if image is None:
        raise PictureError("the picture cannot be decoded: send a sound JPEG, PNG, BMP, WebP or TIFF file")
    return np.asarray(image, dtype=np.uint8)
