"""Thumbnails: small, upright, never larger than the picture, none of what cannot be decoded."""

import hashlib

import cv2
import numpy as np
import pytest
from lodeworks_builtin.thumbnails import LONGEST_SIDE_PX, shrunk, thumbnail, write_shrunk
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import SHRUNK_SCHEMA, read_segment


def scene(width, height):
    """Returns a picture whose upper left quarter is bright."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2] = (60, 180, 240)
    return image


def encoded(image, extension="jpg"):
    return cv2.imencode(f".{extension}", image)[1].tobytes()


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (256, 192)),
        ((300, 1000), (77, 256)),
        ((640, 480), (256, 192)),
        ((257, 4), (256, 4)),
        ((3000, 3), (256, 1)),
        ((100, 50), (100, 50)),
    ],
)
def test_the_longest_side_is_256_at_most_and_the_shape_stays(extension, size, expected):
    image = scene(*size)
    small = thumbnail(encoded(image, extension), width=size[0], height=size[1])
    found = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert small[:3] == b"\xff\xd8\xff"
    assert found.shape[1::-1] == expected
    assert max(expected) <= LONGEST_SIDE_PX
    if min(expected) > 40:
        wanted = cv2.resize(image, expected, interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(found.astype(int) - wanted).mean() < 6


def test_what_cannot_be_decoded_has_none_and_ends_nothing(tmp_path):
    data = [encoded(scene(640, 480)), b"no picture", encoded(scene(64, 48), "png")]
    pictures = []
    for content, extension in zip(data, ("jpg", "jpg", "png"), strict=True):
        digest = hashlib.sha256(content).hexdigest()
        pictures.append(Picture(digest=digest, extension=extension, width=640, height=480))
        path = tmp_path / "assets" / asset_path(pictures[-1].upright_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    gone = Picture(digest="0" * 64, extension="jpg", width=9, height=9)
    blobs = tmp_path / "blobs"
    blobs.mkdir()

    found = list(shrunk([*pictures, gone], assets=tmp_path / "assets", blobs=blobs))

    assert [digest for digest, _ in found] == [*(picture.digest for picture in pictures), gone.digest]
    assert [small is None for _, small in found] == [False, True, False, True]
    for _, small in found:
        assert small is None or hashlib.sha256((blobs / small).read_bytes()).hexdigest() == small
    assert write_shrunk(tmp_path / "thumbnails", found) == 4
    assert read_segment(tmp_path / "thumbnails", schema=SHRUNK_SCHEMA).num_rows == 4
