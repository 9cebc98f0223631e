"""Formats of an import: what is recognised and why, what names classes and parts, what a wrong file costs."""

import json

import pytest
from ingest_world import CELL, picture, reasons, taken, voc, with_exif, zipped
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import read_pictures

HALF = b"0 0.5 0.5 0.25 0.5\n"


def coco(images, annotations=(), categories=((7, "cell"),), **more):
    raw = {
        "images": [{"id": number, "file_name": name} for number, name in images],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 7, "bbox": [1, 2, 10, 20], **rest}
            for number, (image, rest) in enumerate(annotations)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
        **more,
    }
    return json.dumps(raw).encode()


@pytest.mark.parametrize(
    ("files", "form", "why"),
    [
        ({"images/a.jpg": b"", "gt/a.xml": voc(CELL)}, "voc", "1 XML files"),
        ({"images/a.jpg": b""}, "voc", "pictures and no annotations"),
        (
            {"data.yaml": b"names: [cell]", "images/a.jpg": b"", "labels/a.txt": HALF},
            "yolo",
            "data.yaml beside 1 label",
        ),
        ({"a.jpg": b"", "a.txt": HALF, "classes.txt": b"cell\n"}, "yolo", "classes.txt beside 1 label"),
        ({"images/a.jpg": b"", "x.json": coco([(1, "a.jpg")])}, "coco", "x.json"),
        (
            {"images/a.jpg": b"", "gt/a.xml": voc(CELL), "x.json": coco([(1, "a.jpg")])},
            "voc",
            "also there: x.json (coco)",
        ),
    ],
)
def test_the_report_says_what_was_recognised_and_why(tmp_path, files, form, why):
    files = {name: data or picture() for name, data in files.items()}
    told, _ = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert told["format"] == form
    assert why in told["recognised"]
    if form == "voc":
        told, _ = taken(zipped(tmp_path / "s.zip", files), tmp_path, format="voc")
        assert told["recognised"] == "it was asked for"


def test_numbers_without_names_end_in_a_question(tmp_path):
    files = {"images/a.jpg": picture(), "labels/a.txt": HALF + b"7 0.5 0.5 0.25 0.5\n"}
    source = zipped(tmp_path / "s.zip", files)
    with pytest.raises(FormatError) as caught:
        taken(source, tmp_path)
    assert caught.value.reason == "YOLO_WITHOUT_NAMES"
    assert "classes 0 to 7 (labels/a.txt:2)" in str(caught.value)
    assert "--names A,B" in str(caught.value)
    names = tuple("abcdefgh")
    _, rows = taken(source, tmp_path, class_names=names)
    assert [box.class_name for box in rows["a.jpg"].boxes] == ["a", "h"]


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "deep/voc.names"])
def test_lists_of_names_count_as_names(tmp_path, name):
    files = {name: b"cell\ndot\n", "pics/a.jpg": picture(), "pics/a.txt": b"1 0.5 0.5 0.25 0.5", "pics/read.txt": b"x"}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path, format="yolo")
    assert rows["a.jpg"].boxes == (Box("dot", 24, 12, 16, 24),)
    assert told["files"]["other"] == 2


def test_outlines_of_yolo_are_kept_and_boxed(tmp_path):
    files = {
        "data.yaml": b"names: [cell]\n",
        "images/a.jpg": picture(),
        "labels/a.txt": b"0 0.25 0.25 0.75 0.25 0.5 0.75\n",
    }
    _, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert rows["a.jpg"].boxes == (Box("cell", 16, 12, 32, 24, shape="[[16.0,12.0,48.0,12.0,32.0,36.0]]"),)


@pytest.mark.parametrize(
    ("yaml", "place", "split", "name"),
    [
        ("train: images/train", "images/train/a.jpg", "train", "a.jpg"),
        ("train: ../train/images\nval: ../valid/images", "valid/images/a.jpg", "val", "a.jpg"),
        ("train: images/first\nval: images/second", "images/second/x/a.jpg", "val", "x/a.jpg"),
        ("night: images/night", "images/night/a.jpg", "night", "a.jpg"),
        ("train: [images/train, images/unsplit]\nunsplit: images/unsplit", "images/unsplit/a.jpg", None, "a.jpg"),
        ("train: list.txt", "images/a.jpg", "train", "a.jpg"),
        ("nc: 1", "images/test/a.jpg", "test", "a.jpg"),
        ("nc: 1", "images/more/a.jpg", None, "more/a.jpg"),
    ],
)
def test_parts_of_yolo(tmp_path, yaml, place, split, name):
    files = {"data.yaml": f"names: [cell]\n{yaml}\n".encode(), place: picture(), "list.txt": b"./images/a.jpg\n"}
    _, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert {key: row.split for key, row in rows.items()} == {name: split}


def test_parts_of_voc_by_folder(tmp_path):
    files = {"train/a.jpg": picture(), "train/a.xml": voc(CELL), "valid/images/b.jpg": picture(1)}
    _, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert {key: row.split for key, row in rows.items()} == {"a.jpg": "train", "b.jpg": "val"}


def test_coco_with_a_file_per_part(tmp_path):
    files = {
        "annotations/instances_train.json": coco([(1, "a.jpg")], [(1, {})]),
        "annotations/instances_val.json": coco([(1, "a.jpg")], [(1, {"bbox": [5, 5, 5, 5]})]),
        "annotations/captions_val.json": coco([(1, "a.jpg")]),
        "images/train/a.jpg": picture(),
        "images/val/a.jpg": picture(1),
        "images/val/b.jpg": picture(2),
    }
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert told["annotations"]["accepted"] == 2
    assert told["files"]["other"] == 1
    found = {row.split: row for row in read_pictures(tmp_path / "out" / "exchange") if row.boxes is not None}
    assert found["train"].boxes == (Box("cell", 1, 2, 10, 20),)
    assert found["val"].boxes == (Box("cell", 5, 5, 5, 5),)
    assert rows["b.jpg"].split == "val"


def test_wrong_ids_of_coco_are_named_one_by_one(tmp_path):
    raw = json.loads(coco([(1, "a.jpg"), (1, "b.jpg"), (3, "a.jpg")], [(1, {}), (99, {}), (3, {}), (1, {})]))
    raw["annotations"][3]["category_id"] = 8
    files = {"x.json": json.dumps(raw).encode(), "images/a.jpg": picture(), "images/b.jpg": picture(1)}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert rows["a.jpg"].boxes == (Box("cell", 1, 2, 10, 20),)
    assert told["boxes"] == {"total": 4, "accepted": 1, "merged": 0, "rejected": 3, "clipped": 0}
    expected = {"ANNOTATION_WITHOUT_IMAGE": 2, "DUPLICATE_ID": 1, "DUPLICATE_NAME": 1, "UNKNOWN_CATEGORY": 1}
    assert told["reasons"] == expected | {"PICTURE_WITHOUT_ANNOTATION": 1}
    messages = [problem["message"] for problem in told["problems"]]
    assert "annotation 1 names image 99, which is not there" in messages
    assert "annotation 3 names category 8, which is not there" in messages


def test_shapes_of_coco_are_kept(tmp_path):
    rle = {"size": [48, 64], "counts": [0, 10, 3062]}
    shapes = [{"segmentation": [[1, 1, 5, 1, 5, 5]]}, {"segmentation": rle, "iscrowd": 1}]
    shapes += [{"segmentation": [[2, 3, 12, 3, 12, 13]], "bbox": []}]
    files = {"x.json": coco([(1, "a.jpg")], [(1, shape) for shape in shapes]), "images/a.jpg": picture()}
    _, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    first, second, third = rows["a.jpg"].boxes
    assert json.loads(first.shape) == [[1, 1, 5, 1, 5, 5]]
    assert json.loads(second.shape) == rle
    assert second.crowd
    assert (third.x, third.y, third.w, third.h) == (2, 3, 10, 10)


def test_outlines_turn_with_their_picture_and_masks_of_another_size_are_dropped(tmp_path):
    masks = [{"size": [48, 64], "counts": [47, 1, 3024]}, {"size": [24, 32], "counts": [768]}]
    shapes = [[[1, 1, 5, 1, 5, 5]], *masks]
    raw = json.loads(coco([(1, "a.jpg")], [(1, {"segmentation": shape}) for shape in shapes]))
    raw["images"][0] |= {"width": 64, "height": 48}
    files = {"x.json": json.dumps(raw).encode(), "images/a.jpg": with_exif(picture(), 6)}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert json.loads(rows["a.jpg"].boxes[0].shape) == [[47, 1, 47, 5, 43, 5]]
    # The lowest pixel of the first column is the first one of the picture that is turned by 90° clockwise.
    assert json.loads(rows["a.jpg"].boxes[1].shape) == {"size": [64, 48], "counts": [0, 1, 3071]}
    assert rows["a.jpg"].boxes[2].shape is None
    assert told["reasons"] == {"SHAPE_DROPPED": 1}


def test_classes_are_mapped_and_left_out(tmp_path):
    files = {
        "images/a.jpg": picture(),
        "gt/a.xml": voc(CELL, ("Junk", 1, 1, 9, 9), ("DOT", 2, 2, 9, 9)),
        "pred/a.xml": voc(("dot", 2, 2, 9, 9), confidence=0.5),
    }
    wanted = (("dot", "speck"), ("junk", ""), ("never", "x"))
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path, class_map=wanted)
    assert [box.class_name for box in rows["a.jpg"].boxes] == ["cell", "speck"]
    assert [box.class_name for box in rows["a.jpg"].predictions] == ["speck"]
    assert told["mapped"] == {"dot": 2, "junk": 1, "never": 0}
    assert told["boxes"]["rejected"] == 1
    assert told["reasons"] == {"CLASS_LEFT_OUT": 1}


def test_notes_about_pictures_that_are_taken(tmp_path):
    files = {
        "images/a.png": picture(),
        "images/b.jpg": picture(1),
        "gt/b.xml": voc(CELL, size=(640, 480)),
        "gt/a.xml": voc(CELL),
    }
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert rows["a.png"].extension == "jpg"
    assert reasons(told) == {"a.png": "WRONG_EXTENSION", "b.xml": "SIZE_DIFFERS"}
    assert "640 x 480" in told["problems"][-1]["message"] + told["problems"][0]["message"]


def test_large_files_are_rejected_unread(tmp_path):
    files = {"images/a.jpg": picture(), "images/b.jpg": bytes(200_000), "gt/a.xml": voc(CELL) + b" " * (33 << 20)}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path, max_picture_bytes=100_000)
    assert reasons(told) == {"b.jpg": "TOO_LARGE", "a.xml": "TOO_LARGE"}
    assert rows["a.jpg"].boxes is None
