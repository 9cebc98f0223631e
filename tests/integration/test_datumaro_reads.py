"""Datumaro, which others use, reads what is exported and agrees on every box. It lives in an environment of its own."""

import hashlib
import json
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from lodeworks_builtin.export import export
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import write_pictures
from lodeworks_formats.task_inputs import ExportOptions

READS = Path(__file__).parents[1] / "world/datumaro_reads.py"
CLASSES = ["cell", "dot", "red cell", "血小板"]
WIDTH, HEIGHT = 64, 48

pytestmark = pytest.mark.skipif(
    "LODE_DATUMARO" not in os.environ,
    reason="LODE_DATUMARO names no Python that has Datumaro: python -m venv V && V/bin/pip install datumaro",
)


def made(folder, count=60):
    """Writes a view of pictures with boxes by chance, and their files."""
    chance = np.random.default_rng(7)
    rows = []
    for number in range(count):
        pixels = chance.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        data = cv2.imencode(".png", pixels)[1].tobytes()
        boxes = []
        for _ in range(int(chance.integers(0, 6))):
            x, y = (float(np.float32(value)) for value in chance.uniform(0, 30, 2))
            w, h = (float(np.float32(value)) for value in chance.uniform(2, 17, 2))
            boxes.append(Box(CLASSES[int(chance.integers(len(CLASSES)))], x, y, w, h))
        digest = hashlib.sha256(data).hexdigest()
        name, split = f"p{number}.png", [None, "train", "val"][number % 3]
        row = Picture(digest, "png", WIDTH, HEIGHT, size_bytes=len(data), names=(name,), split=split)
        rows.append((row, tuple(boxes)))
        path = folder / "assets" / asset_path(row.hash_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return rows


@pytest.mark.parametrize(("form", "theirs"), [("vocdevkit", "voc"), ("coco", "coco"), ("yolo", "yolo")])
def test_datumaro_agrees_on_every_box(tmp_path, form, theirs):
    rows = [replace(row, boxes=boxes) for row, boxes in made(tmp_path)]
    write_pictures(tmp_path / "view", rows, kind="view", class_names=CLASSES)
    export(
        tmp_path / "view",
        assets=tmp_path / "assets",
        archive=tmp_path / "out.zip",
        options=ExportOptions(format=form),
        progress=lambda *_: None,
    )
    zipfile.ZipFile(tmp_path / "out.zip").extractall(tmp_path / "out")
    command = [os.environ["LODE_DATUMARO"], str(READS), theirs, str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found) == sorted(Path(row.names[0]).stem for row in rows)
    # Datumaro takes VOC's inclusive corners for half-open ones.
    less = 1 if form == "vocdevkit" else 0
    compared = 0
    for row in rows:
        wanted = sorted((box.class_name, box.x, box.y, box.w - less, box.h - less) for box in row.boxes)
        got = sorted(map(tuple, found[Path(row.names[0]).stem]))
        assert [one[0] for one in got] == [one[0] for one in wanted]
        for one, other in zip(got, wanted, strict=True):
            assert one[1:] == pytest.approx(other[1:], abs=1e-2)
            compared += 1
    assert compared > 100
