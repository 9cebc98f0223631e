"""Exports: what leaves as VOC comes back as it was; COCO and YOLO name the same boxes."""

import hashlib
import json
import math
import shutil
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_builtin.export import export
from lodeworks_builtin.ingest import ingest
from lodeworks_formats.annotations import coco, yolo
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures, write_pictures
from lodeworks_formats.task_inputs import ExportOptions, IngestOptions

WIDTH, HEIGHT = 40, 30


def _bytes(seed):
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


DATA = [_bytes(seed) for seed in range(4)]

plain = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="￾￿")
words = st.text(plain, min_size=1, max_size=8)
stripped = words.map(str.strip).filter(lambda name: name and name.isprintable())
shares = st.floats(0, 1, width=32)


@st.composite
def boxes(draw, *, predicted):
    x, y = draw(st.floats(0, WIDTH - 2, width=32)), draw(st.floats(0, HEIGHT - 2, width=32))
    return Box(
        draw(stripped),
        x,
        y,
        draw(st.floats(0.0625, math.floor(WIDTH - x), width=32)),
        draw(st.floats(0.0625, math.floor(HEIGHT - y), width=32)),
        score=draw(shares) if predicted else None,
        box_quality=draw(st.none() | shares),
        tags=tuple(draw(st.lists(words, max_size=2))),
        attributes=draw(st.dictionaries(stripped, words, max_size=2)),
        crowd=draw(st.booleans()),
        difficult=draw(st.booleans()),
    )


@st.composite
def picture_lists(draw):
    rows = []
    for index in range(draw(st.integers(1, len(DATA)))):
        data = DATA[index]
        truth = draw(st.none() | st.lists(boxes(predicted=False), max_size=3).map(tuple))
        predictions = draw(st.none() | st.lists(boxes(predicted=True), max_size=2).map(tuple))
        folder = draw(st.sampled_from(["", "deep/", "a.b/"]))
        rows.append(
            Picture(
                hashlib.sha256(data).hexdigest(),
                "png",
                WIDTH,
                HEIGHT,
                size_bytes=len(data),
                names=(f"{folder}{index}.v{index}.PNG",),
                tags=tuple(draw(st.lists(words, max_size=2))) if truth is not None else (),
                split=draw(st.sampled_from([None, "train", "val", "test", "night shift"])),
                boxes=truth,
                predictions=predictions,
            )
        )
    return rows


def _exported(folder, rows, **options):
    for row, data in zip(rows, DATA, strict=False):
        path = folder / "assets" / asset_path(row.hash_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_pictures(folder / "view", rows, kind="view")
    export(
        folder / "view",
        assets=folder / "assets",
        archive=folder / "out.zip",
        options=ExportOptions(**options),
        progress=lambda *_: None,
    )
    return folder / "out.zip"


def _back(folder, rows, **options):
    source = _exported(folder, rows, **options)
    report = ingest(
        source, exchange=folder / "back", blobs=folder / "blobs", options=IngestOptions(), progress=lambda *_: None
    )
    told = report.to_json()
    assert told["files"]["rejected"] == 0
    assert told["format"] == options.get("format", "voc").removesuffix("devkit")
    return {row.digest: row for row in read_pictures(folder / "back")}


@settings(max_examples=40, deadline=None)
@given(picture_lists(), st.sampled_from(["voc", "vocdevkit"]))
def test_voc_of_an_export_is_the_same(tmp_path_factory, rows, form):
    folder = tmp_path_factory.mktemp("export")
    back = _back(folder, rows, predictions=True, model_name="m", format=form)
    assert back == {row.digest: row for row in rows}
    shutil.rmtree(folder)


def _spelled(rows):
    """Returns the rows with classes of one spelling, as a view has them, and without predictions."""
    spelling = {}
    for row in rows:
        for found in row.boxes or ():
            spelling.setdefault(found.class_name.casefold(), found.class_name)
    return [
        replace(
            row,
            predictions=None,
            boxes=None
            if row.boxes is None
            else tuple(replace(one, class_name=spelling[one.class_name.casefold()]) for one in row.boxes),
        )
        for row in rows
    ]


@settings(max_examples=40, deadline=None)
@given(picture_lists())
def test_coco_of_an_export_is_the_same(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("export")
    rows = _spelled(rows)
    assert _back(folder, rows, format="coco") == {row.digest: row for row in rows}
    shutil.rmtree(folder)


@settings(max_examples=40, deadline=None)
@given(picture_lists())
def test_yolo_of_an_export_has_the_same_boxes(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("export")
    rows = _spelled(rows)
    back = _back(folder, rows, format="yolo")
    for row in rows:
        got = back[row.digest]
        assert (got.names, got.split, got.size_bytes) == (row.names, row.split, row.size_bytes)
        assert (got.boxes is None) == (row.boxes is None)
        for one, other in zip(got.boxes or (), row.boxes or (), strict=True):
            assert one.class_name == other.class_name
            assert (one.x, one.y, one.w, one.h) == pytest.approx((other.x, other.y, other.w, other.h), abs=1e-3)
    shutil.rmtree(folder)


NAMES = [("a.png", "train"), ("A.jpg", "val"), ("../../evil.png", "val"), ("gt/d.png", None)]
ROWS = [
    Picture(
        hashlib.sha256(data).hexdigest(),
        "png",
        WIDTH,
        HEIGHT,
        names=(name,),
        split=split,
        boxes=(Box("cell", 1.5, 2, 10, 5.25), Box("dot", 3, 3, 4, 4)) if split else None,
    )
    for data, (name, split) in zip(DATA, NAMES, strict=True)
]


def test_the_same_export_has_the_same_bytes(tmp_path):
    first = _exported(tmp_path, ROWS).read_bytes()
    assert _exported(tmp_path, ROWS).read_bytes() == first


def test_names_are_safe_and_each_stem_stands_once(tmp_path):
    names = zipfile.ZipFile(_exported(tmp_path, ROWS)).namelist()
    pictures = [name.removeprefix("images/") for name in names if name.startswith("images/")]
    assert pictures == ["a.png", "A.jpg.png", ROWS[2].hash_name, "gt_d.png"]
    again = [replace(ROWS[0], digest=ROWS[1].digest), ROWS[0]]
    names = zipfile.ZipFile(_exported(tmp_path, again)).namelist()
    assert f"images/a_{ROWS[0].digest[:12]}.png" in names


def test_coco(tmp_path):
    with zipfile.ZipFile(_exported(tmp_path, ROWS, format="coco")) as archive:
        train, val, rest = [
            coco.parse_coco(archive.read(f"annotations/instances_{split}.json"))
            for split in ("train", "val", "default")
        ]
        assert len([name for name in archive.namelist() if name.startswith("images/")]) == 4
    assert train.class_names == ("cell", "dot")
    assert [sorted(read.images) for read in (train, val, rest)] == [["a.png"], ["A.jpg.png", ROWS[2].hash_name], []]
    assert tuple(train.images["a.png"].boxes) == ROWS[0].boxes


def test_yolo(tmp_path):
    with zipfile.ZipFile(_exported(tmp_path, ROWS, format="yolo", pictures=False)) as archive:
        dataset = yolo.parse_yolo_dataset(archive.read("data.yaml").decode())
        labels = archive.read("labels/train/a.txt").decode()
        assert not [name for name in archive.namelist() if name.startswith("images/")]
    assert dataset.class_names == ("cell", "dot")
    assert dataset.splits["train"] == ("images/train", "images/unsplit")
    assert sorted(dataset.splits) == ["train", "unsplit", "val"]
    read, _ = yolo.parse_yolo_labels(labels, class_names=dataset.class_names, width=WIDTH, height=HEIGHT)
    assert [box.class_name for box in read] == ["cell", "dot"]


def test_what_cannot_be_exported_is_said(tmp_path):
    with pytest.raises(FormatError, match="use one of voc, vocdevkit, coco, yolo"):
        _exported(tmp_path, ROWS, format="tfrecord")
    write_pictures(tmp_path / "view", [replace(ROWS[0], digest="00" * 32)])
    with pytest.raises(FormatError, match="were not handed"):
        export(
            tmp_path / "view",
            assets=tmp_path / "none",
            archive=tmp_path / "out.zip",
            options=ExportOptions(),
            progress=lambda *_: None,
        )


def test_the_view_settles_the_class_order(tmp_path):
    _exported(tmp_path, ROWS)
    write_pictures(tmp_path / "view", ROWS, class_names=["dot", "cell", "third"])
    export(
        tmp_path / "view",
        assets=tmp_path / "assets",
        archive=tmp_path / "out.zip",
        options=ExportOptions(format="coco"),
        progress=lambda *_: None,
    )
    raw = json.loads(zipfile.ZipFile(tmp_path / "out.zip").read("annotations/instances_train.json"))
    assert [item["name"] for item in raw["categories"]] == ["dot", "cell", "third"]


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_other_formats_come_back_with_their_boxes(tmp_path, form):
    source = _exported(tmp_path, ROWS, format=form)
    report = ingest(
        source, exchange=tmp_path / "back", blobs=tmp_path / "blobs", options=IngestOptions(), progress=lambda *_: None
    )
    assert report.format == form
    back = {row.digest: row for row in read_pictures(tmp_path / "back")}
    assert set(back) == {row.digest for row in ROWS}
    for row in ROWS:
        found = back[row.digest].boxes
        assert (found is None) == (row.boxes is None)
        for got, box in zip(found or (), row.boxes or (), strict=True):
            assert got.class_name == box.class_name
            assert (got.x, got.y, got.w, got.h) == pytest.approx((box.x, box.y, box.w, box.h), abs=1e-3)
