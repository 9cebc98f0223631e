"""The one thing we read from EXIF: how to turn the picture upright."""

import struct

_ORIENTATION, _SHORT = 0x0112, 3
_MOST_ENTRIES = 512


def exif_orientation(tiff: bytes) -> int:
    """Returns the orientation, 1 to 8, from the TIFF block inside EXIF; 1 for whatever cannot be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(min(count, _MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + index * 12)
            if tag == _ORIENTATION and kind == _SHORT:
                return value if 1 <= value <= 8 else 1  # noqa: PLR2004 — what EXIF defines
    except struct.error:
        return 1
    return 1
