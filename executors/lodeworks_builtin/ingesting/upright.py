"""Upright copies: what executors and annotators get instead of turned pictures, webp and tiff."""

import cv2
import numpy as np
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader
from lodeworks_formats.pictures import NEEDS_DERIVED

JPEG_QUALITY = 95


def needs_upright_copy(header: PictureHeader) -> bool:
    """Returns whether executors cannot get the original as it is."""
    return header.orientation != 1 or header.extension in NEEDS_DERIVED


def check_decodes(data: bytes) -> None:
    """Raises FormatError UNREADABLE_PICTURE for a picture that cannot be decoded whole."""
    _decode(data)


def upright_copy(data: bytes, header: PictureHeader) -> bytes:
    """Returns an upright jpg (of a jpg) or png (of anything else) of a picture.

    Raises:
        FormatError: UNREADABLE_PICTURE when it cannot be decoded.
    """
    image = _decode(data)
    if header.extension != "tiff":  # OpenCV turns a TIFF upright by itself, whatever the flags say
        image = _turn(image, header.orientation)
    if header.extension == "jpg":
        done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    else:
        done, encoded = cv2.imencode(".png", image)
    if not done:
        raise FormatError("UNREADABLE_PICTURE", "the picture cannot be written upright")
    return bytes(encoded.tobytes())


def _decode(data: bytes) -> np.ndarray:
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise FormatError("UNREADABLE_PICTURE", "the picture cannot be decoded") from error
    if image is None:
        raise FormatError("UNREADABLE_PICTURE", "the picture cannot be decoded")
    return np.asarray(image)


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:  # noqa: PLR2004 — the four that swap the sides: transpose first, then as 1, 2, 4, 3
        image = image.transpose(1, 0, 2)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    if orientation in (2, 3):
        image = image[:, ::-1]
    if orientation in (3, 4):
        image = image[::-1]
    return np.ascontiguousarray(image)
