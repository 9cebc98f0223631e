"""What a picture's own bytes say about it, without decoding it.

What others call:

    probe_picture(data, max_pixels=...) -> PictureHeader(extension, width, height, orientation, channels, bits, several)

width and height are those of the stored pixels; `header.upright_size` swaps them where the orientation says so.
A file that ends too early is told apart from one that is no picture.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from lodeworks_formats.errors import FormatError
from lodeworks_formats.exif import exif_orientation
from lodeworks_formats.tiff_header import probe_tiff

MAX_PIXELS = 200_000_000

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FRAME_MARKERS = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_PREFIX, _START_OF_SCAN, _END, _APP1 = 0xFF, 0xDA, 0xD9, 0xE1
_BARE_MARKERS = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_VP8X_ALPHA, _VP8X_ANIMATION = 0x10, 0x02


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """Format, stored size, EXIF orientation (1 to 8), channels, bits of a channel; whether other pictures follow."""

    extension: str
    width: int
    height: int
    orientation: int = 1
    channels: int = 3
    bits: int = 8
    several: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the orientation was applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)  # noqa: PLR2004


def probe_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PictureHeader:
    """Returns what the header says, having checked that the file goes on to its end.

    Raises:
        FormatError: EMPTY_FILE, WRONG_FORMAT (none of jpg, png, bmp, webp, tiff), TRUNCATED, UNREADABLE_PICTURE, or
            PIXEL_BOMB for more than max_pixels.
    """
    if not data:
        raise FormatError("EMPTY_FILE", "the file is empty")
    try:
        header = _probe(data)
    except (IndexError, struct.error) as error:
        raise FormatError("TRUNCATED", "the picture ends within its header") from error
    if header.width < 1 or header.height < 1:
        raise FormatError("UNREADABLE_PICTURE", "the picture has no pixels")
    if header.width * header.height > max_pixels:
        raise FormatError("PIXEL_BOMB", f"the picture has {header.width} x {header.height} pixels, more than allowed")
    return header


def _probe(data: bytes) -> PictureHeader:
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return PictureHeader("tiff", *probe_tiff(data))
    if _JPEG.startswith(data[:3]) or _PNG.startswith(data[:8]):
        raise FormatError("TRUNCATED", "the picture ends within its header")
    raise FormatError("WRONG_FORMAT", "the file is no jpg, png, bmp, webp or tiff picture")


def _jpeg(data: bytes) -> PictureHeader:
    orientation, frame, position, bits = 1, None, 0, 8
    for marker, position, length in _segments(data):
        if marker in _FRAME_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 2)
            frame = (width, height, channels)
        elif marker == _APP1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[position + 8 : position + length])
    # Within a scan 0xFF is always followed by 0, so this pair after its start is the end of the picture itself.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise FormatError("TRUNCATED", "the JPEG ends before its end marker")
    if frame is None:
        raise FormatError("UNREADABLE_PICTURE", "the JPEG has no frame")
    return PictureHeader("jpg", frame[0], frame[1], orientation, frame[2], bits)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields marker, position of its length, length, up to and with the first start of scan."""
    position, marker = 2, 0
    while marker != _START_OF_SCAN:
        while data[position] == _PREFIX and data[position + 1] == _PREFIX:
            position += 1
        if data[position] != _PREFIX:
            raise FormatError("UNREADABLE_PICTURE", "the JPEG has no marker where one must be")
        marker = data[position + 1]
        position += 2
        if marker in _BARE_MARKERS:
            continue
        if position + 2 > len(data):
            raise FormatError("TRUNCATED", "the JPEG ends within its header")
        length = int.from_bytes(data[position : position + 2])
        if marker == _END or length < 2:  # noqa: PLR2004 — the length counts itself
            raise FormatError("UNREADABLE_PICTURE", "the JPEG ends without a picture or has an empty segment")
        yield marker, position, length
        position += length


def _png(data: bytes) -> PictureHeader:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in _PNG_CHANNELS:
        raise FormatError("UNREADABLE_PICTURE", "the PNG has no valid header")
    position, orientation, several = 8, 1, False
    while True:
        if position + 12 > len(data):
            raise FormatError("TRUNCATED", "the PNG ends before its end chunk")
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        several = several or kind == b"acTL"
        position += 12 + length
    return PictureHeader("png", width, height, orientation, _PNG_CHANNELS[colour], max(bits, 8), several)


def _bmp(data: bytes) -> PictureHeader:
    size, _, _, start, header = struct.unpack_from("<IHHII", data, 2)
    if header == 12:  # noqa: PLR2004 — OS/2
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        packed = False
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
        packed = compression not in (0, 3)
    row = (width * depth + 31) // 32 * 4
    if len(data) < (size if packed else start + row * abs(height)):
        raise FormatError("TRUNCATED", "the BMP ends before its last row")
    return PictureHeader("bmp", width, abs(height), 1, 4 if depth == 32 else 3)  # noqa: PLR2004


def _webp(data: bytes) -> PictureHeader:
    if len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise FormatError("TRUNCATED", "the WebP ends before its end")
    kind = data[12:16]
    if kind == b"VP8X":
        flags, wide, high = data[20], data[24:27], data[27:30]
        width, height = int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
        channels = 4 if flags & _VP8X_ALPHA else 3
        several = bool(flags & _VP8X_ANIMATION)
        return PictureHeader("webp", width, height, _webp_orientation(data), channels, several=several)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        channels = 4 if bits >> 28 & 1 else 3
        return PictureHeader("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1, channels)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return PictureHeader("webp", width & 0x3FFF, height & 0x3FFF)
    raise FormatError("UNREADABLE_PICTURE", "the WebP has no picture chunk")


def _webp_orientation(data: bytes) -> int:
    stream = BytesIO(data)
    stream.seek(12)
    while len(head := stream.read(8)) == 8:  # noqa: PLR2004
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            block = stream.read(length)
            return exif_orientation(block.removeprefix(b"Exif\0\0"))
        stream.seek(length + length % 2, 1)
    return 1
