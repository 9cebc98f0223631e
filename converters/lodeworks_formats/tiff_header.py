"""The first page of a TIFF: size, orientation, channels, and whether its data is all there."""

import struct
from typing import NamedTuple

from lodeworks_formats.errors import FormatError

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _SAMPLES = 256, 257, 258, 274, 277
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_FORMS = {1: "B", 3: "H", 4: "I"}
_MOST_ENTRIES, _MOST_VALUES = 512, 1 << 20


class TiffHeader(NamedTuple):
    """Stored size, EXIF orientation, channels and bits of the first page; whether others follow."""

    width: int
    height: int
    orientation: int
    channels: int
    bits: int = 8
    several: bool = False


def probe_tiff(data: bytes) -> TiffHeader:
    """Returns what the first page says.

    Raises:
        FormatError: TRUNCATED when its strips or tiles reach beyond the file, UNREADABLE_PICTURE without them.
        struct.error: The file ends within its header.
    """
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    values: dict[int, tuple[int, ...]] = {}
    for index in range(min(count, _MOST_ENTRIES)):
        position = start + 2 + index * 12
        tag, kind, number = struct.unpack_from(order + "HHI", data, position)
        if kind in _FORMS and 0 < number <= _MOST_VALUES:
            form = f"{order}{number}{_FORMS[kind]}"
            if struct.calcsize(form) <= 4:  # noqa: PLR2004 — the value stands in the entry itself
                values[tag] = struct.unpack_from(form, data, position + 8)
            else:
                values[tag] = struct.unpack_from(form, data, struct.unpack_from(order + "I", data, position + 8)[0])
    offsets = next((values[tag] for tag in _OFFSETS if tag in values), ())
    counts = next((values[tag] for tag in _COUNTS if tag in values), ())
    if _WIDTH not in values or _HEIGHT not in values or not offsets or len(offsets) != len(counts):
        raise FormatError("UNREADABLE_PICTURE", "the TIFF does not say where its pixels are")
    if max(offset + size for offset, size in zip(offsets, counts, strict=True)) > len(data):
        raise FormatError("TRUNCATED", "the TIFF ends before its last strip")
    orientation = values.get(_ORIENTATION, (1,))[0]
    return TiffHeader(
        values[_WIDTH][0],
        values[_HEIGHT][0],
        orientation if 1 <= orientation <= 8 else 1,  # noqa: PLR2004 — what EXIF defines
        min(max(values.get(_SAMPLES, (1,))[0], 1), 4),
        max(values.get(_BITS, (1,))[0], 8),
        any(data[start + 2 + count * 12 : start + 6 + count * 12]),
    )
