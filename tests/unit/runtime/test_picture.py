import struct

import cv2
import numpy as np
import pytest
from lodeworks_runtime import PictureError, decode_picture


def jpeg(image, *, orientation=None):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    if orientation is None:
        return data
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHII", 1, 0x0112, 3, 1, orientation) + b"\x00" * 4
    body = b"Exif\x00\x00" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def corner_picture():
    image = np.zeros((40, 64, 3), np.uint8)
    image[:16, :16] = (0, 0, 255)
    return image


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff", ".webp"])
def test_decodes_blue_first(extension):
    data = cv2.imencode(extension, corner_picture(), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    image = decode_picture(data)
    assert image.shape == (40, 64, 3)
    assert image[4, 4].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("orientation", "shape", "red_at"),
    [(1, (40, 64), (4, 4)), (3, (40, 64), (35, 59)), (6, (64, 40), (4, 35)), (8, (64, 40), (59, 4))],
)
def test_applies_the_orientation(orientation, shape, red_at):
    image = decode_picture(jpeg(corner_picture(), orientation=orientation))
    assert image.shape[:2] == shape
    assert image[red_at][2] > 200
    assert image[red_at][0] < 60


def test_grey_and_transparent_pictures_get_three_channels():
    grey = cv2.imencode(".png", np.full((5, 6), 77, np.uint8))[1].tobytes()
    assert decode_picture(grey).tolist() == np.full((5, 6, 3), 77).tolist()
    transparent = cv2.imencode(".png", np.full((5, 6, 4), 9, np.uint8))[1].tobytes()
    assert decode_picture(transparent).shape == (5, 6, 3)


@pytest.mark.parametrize("data", [b"", b"no picture at all", jpeg(corner_picture())[:20]])
def test_refuses_what_is_no_picture(data):
    with pytest.raises(PictureError) as caught:
        decode_picture(data)
    assert caught.value.reason == "PICTURE_UNREADABLE"


def test_refuses_what_unfolds_to_too_many_pixels():
    data = cv2.imencode(".png", np.zeros((400, 500), np.uint8))[1].tobytes()
    assert decode_picture(data, max_pixels=200_000).shape == (400, 500, 3)
    with pytest.raises(PictureError, match="500 x 400"):
        decode_picture(data, max_pixels=199_999)


def test_takes_any_buffer():
    data = cv2.imencode(".png", corner_picture())[1].tobytes()
    assert np.array_equal(decode_picture(memoryview(data)), decode_picture(bytearray(data)))
