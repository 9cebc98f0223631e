"""Measures of pictures: alike stays alike through size and compression, and each measure says what it should."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from lodeworks_builtin.signal_measures import measure
from lodeworks_builtin.signals import measured, write_measured
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import MEASURED_SCHEMA


def scene(seed: int, *, width: int = 640, height: int = 480) -> np.ndarray:
    chance = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 110, dtype=np.uint8)
    for _ in range(25):
        x, y, radius = int(chance.integers(width)), int(chance.integers(height)), int(chance.integers(10, 90))
        cv2.circle(picture, (x, y), radius, chance.integers(0, 255, 3).tolist(), -1)
    return picture


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def signals(picture: np.ndarray, quality: int = 90):
    height, width = picture.shape[:2]
    return measure(jpeg(picture, quality), width=width, height=height)


def apart(left, right) -> int:
    return (left.phash ^ right.phash).bit_count()


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_is_itself_when_it_is_smaller_or_compressed_more(seed):
    whole = signals(scene(seed))
    assert apart(whole, signals(scene(seed), quality=35)) <= 3
    assert apart(whole, signals(cv2.resize(scene(seed), (400, 300), interpolation=cv2.INTER_AREA))) <= 6
    assert apart(whole, signals(scene(seed + 100))) > 12


def test_blur_darkness_and_flatness_cost_quality():
    whole = signals(scene(1))
    assert signals(cv2.GaussianBlur(scene(1), (0, 0), 25)).sharpness < whole.sharpness / 3
    dark = signals((scene(1) * 0.1).astype(np.uint8))
    assert dark.exposure < 0.1 < whole.exposure
    flat = signals(np.full((480, 640, 3), 128, dtype=np.uint8))
    assert flat.contrast < 0.01
    assert max(dark.quality, flat.quality) < 0.4 < whole.quality <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (97, 97), (40, 60)])
def test_pictures_of_any_shape_are_measured(shape):
    found = signals(scene(2, width=shape[1], height=shape[0]))
    assert found is not None
    assert 0 <= found.quality <= 1


def test_what_cannot_be_decoded_has_no_signals_and_ends_nothing(tmp_path):
    pictures = []
    for number, data in enumerate([jpeg(scene(1)), b"no picture", jpeg(scene(2))]):
        entry = Picture(digest=f"{number:064x}", extension="jpg", width=640, height=480, size_bytes=len(data))
        path = tmp_path / asset_path(entry.upright_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        pictures.append(entry)
    pictures.append(Picture(digest=f"{9:064x}", extension="jpg", width=640, height=480, size_bytes=5))

    assert write_measured(tmp_path / "signals", measured(pictures, assets=tmp_path)) == 4

    table = pq.read_table(tmp_path / "signals")
    assert table.schema.equals(MEASURED_SCHEMA)
    assert [value is None for value in table.column("phash").to_pylist()] == [False, True, False, True]
