"""Headers of pictures, against OpenCV's own encoder and decoder; every cut-off file is noticed."""

import struct

import cv2
import numpy as np
import pytest
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader, probe_picture


def _encode(extension, *, channels=3, width=61, height=37):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    done, data = cv2.imencode(f".{extension}", image.squeeze())
    assert done
    return data.tobytes()


def with_exif(jpeg, orientation):
    tiff = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "webp", "tiff"])
def test_size_and_format(extension):
    assert probe_picture(_encode(extension)) == PictureHeader(extension, 61, 37, 1, 3)


@pytest.mark.parametrize(("extension", "channels"), [("jpg", 1), ("png", 1), ("png", 4), ("tiff", 1), ("webp", 4)])
def test_channels(extension, channels):
    assert probe_picture(_encode(extension, channels=channels)).channels == channels


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "webp", "tiff"])
def test_no_cut_off_file_passes(extension):
    data = _encode(extension, width=17, height=9)
    for end in range(0, len(data), 3):
        with pytest.raises(FormatError) as caught:
            probe_picture(data[:end])
        expected = ("TRUNCATED", "EMPTY_FILE", "WRONG_FORMAT", "UNREADABLE_PICTURE")
        assert caught.value.reason in expected, end
    with pytest.raises(FormatError, match="ends"):
        probe_picture(data[: len(data) // 2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    header = probe_picture(with_exif(_encode("jpg"), orientation))
    assert header.orientation == orientation
    assert header.upright_size == ((37, 61) if orientation > 4 else (61, 37))


def test_a_thumbnail_inside_does_not_hide_a_cut():
    inner = _encode("jpg", width=8, height=8)
    data = _encode("jpg")
    block = b"\xff\xe2" + struct.pack(">H", len(inner) + 2) + inner
    data = data[:2] + block + data[2:]
    assert probe_picture(data).width == 61
    with pytest.raises(FormatError, match="end marker"):
        probe_picture(data[:-200])


def test_a_bomb_is_refused_by_its_header():
    png = bytearray(_encode("png"))
    png[16:24] = struct.pack(">II", 100_000, 100_000)
    with pytest.raises(FormatError) as caught:
        probe_picture(bytes(png))
    assert caught.value.reason == "PIXEL_BOMB"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "EMPTY_FILE"), (b"hello", "WRONG_FORMAT"), (b"GIF89a", "WRONG_FORMAT"), (b"\xff\xd8", "TRUNCATED")],
)
def test_what_is_no_picture_is_named(data, reason):
    with pytest.raises(FormatError) as caught:
        probe_picture(data)
    assert caught.value.reason == reason


def test_damaged_bytes_never_crash():
    rng = np.random.default_rng(1)
    for extension in ("jpg", "png", "bmp", "webp", "tiff"):
        data = np.frombuffer(_encode(extension, width=9, height=9), np.uint8)
        for _ in range(150):
            damaged = data.copy()
            places = rng.integers(0, min(len(data), 120), 4)
            damaged[places] = rng.integers(0, 256, 4)
            try:
                probe_picture(damaged.tobytes())
            except FormatError:
                continue
