"""Decoding of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from lodeworks_runtime.errors import PictureError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_picture(data: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    """Returns the picture upright, as [H, W, 3] in the order blue, green, red.

    The orientation of EXIF is applied, grey becomes three equal channels, transparency is dropped, sixteen bits become
    eight. Raises PictureError when the bytes cannot be decoded.
    """
    if not data:
        raise PictureError("the picture is empty: send the bytes of a JPEG, PNG, BMP, WebP or TIFF file")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(f"the picture cannot be decoded ({error.err or error}): send a sound file") from error
    if image is None:
        raise PictureError("the bytes are no picture: send a JPEG, PNG, BMP, WebP or TIFF file")
    return np.asarray(image, dtype=np.uint8)
