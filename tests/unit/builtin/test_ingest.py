"""Imports: a report whose counts add up, every reject named, hostile sources refused as a whole."""

import io
import json
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from ingest_world import CELL, picture, reasons, taken, voc, with_exif, zipped
from lodeworks_formats.blob_pack import read_packed
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError


@pytest.mark.parametrize(
    ("images", "gt"),
    [
        ("images", "gt"),
        ("top/images", "top/gt"),
        ("a/b/c/images", "a/b/c/gt"),
        ("VOC/JPEGImages", "VOC/Annotations"),
        ("Images", "GT"),
        ("images/deep", "gt/deep"),
        ("mixed", "mixed"),
        (".", "."),
    ],
)
def test_known_layouts(tmp_path, images, gt):
    files = {f"{images}/a.b.jpg": picture(), f"{gt}/a.b.xml": voc(CELL), f"{images}/c.png": picture(1, "png")}
    files = {name.removeprefix("./"): data for name, data in files.items()}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert told["files"] == {"total": 3, "accepted": 3, "merged": 0, "rejected": 0, "other": 0}
    by_leaf = {Path(name).name: row for name, row in rows.items()}
    assert by_leaf["a.b.jpg"].boxes == (Box("cell", 5, 6, 10, 20),)
    assert by_leaf["c.png"].boxes is None
    assert told["annotated"] == 1


@pytest.mark.parametrize("form", ["zip", "deflated", "tar", "tar.gz", "tar.xz", "folder"])
def test_known_containers(tmp_path, form):
    folder = tmp_path / "source"
    for name, data in {"images/a.jpg": picture(), "gt/a.xml": voc(CELL)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    source = folder
    if form in ("zip", "deflated"):
        source = tmp_path / "s.bin"
        compression = zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(source, "w", compression) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
    elif form.startswith("tar"):
        source = tmp_path / "s.bin"
        with tarfile.open(source, "w" + {"tar": "", "tar.gz": ":gz", "tar.xz": ":xz"}[form]) as archive:
            archive.add(folder, ".")
    told, rows = taken(source, tmp_path)
    assert told["files"]["accepted"] == 2
    assert rows["a.jpg"].boxes == (Box("cell", 5, 6, 10, 20),)


def test_every_reject_is_named(tmp_path):
    good = picture()
    files = {
        "LICENSE": b"MIT",
        "images/good.jpg": good,
        "gt/good.xml": voc(CELL, ("dot", 7, 7, 7, 9), ("wide", 1, 1, 100, 20), ("out", 200, 200, 300, 300)),
        "images/twice.jpg": good,
        "gt/twice.xml": voc(CELL),
        "images/cut.jpg": good[:-100],
        "gt/cut.xml": voc(CELL),
        "images/text.png": b"text",
        "images/empty.jpg": b"",
        "images/notes.txt": b"?",
        "images/broken.jpg": picture(3),
        "gt/broken.xml": b"<annotation><object>",
        "images/bomb.jpg": picture(4),
        "gt/bomb.xml": b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
        "images/alone.jpg": picture(5),
        "images/alone.png": picture(6, "png"),
        "gt/lost.xml": voc(CELL),
        "gt/read.me": b"",
        "__MACOSX/images/._good.jpg": b"",
    }
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert told["files"]["total"] == len(files)
    assert told["files"]["other"] == 2
    assert sorted(rows) == ["alone.jpg", "bomb.jpg", "broken.jpg", "good.jpg"]
    assert rows["good.jpg"].names == ("good.jpg", "twice.jpg")
    assert rows["good.jpg"].boxes == (Box("cell", 5, 6, 10, 20), Box("wide", 1, 1, 63, 20))
    assert rows["broken.jpg"].boxes is None
    assert told["boxes"] == {"total": 5, "accepted": 2, "merged": 1, "rejected": 2, "clipped": 1}
    assert told["reasons"] == {
        "ANNOTATION_DIFFERS": 1,
        "ANNOTATION_WITHOUT_PICTURE": 1,
        "BOX_CLIPPED": 1,
        "BOX_OUTSIDE": 1,
        "BROKEN_XML": 1,
        "DUPLICATE_NAME": 1,
        "EMPTY_FILE": 1,
        "HOSTILE_XML": 1,
        "IDENTICAL": 1,
        "PICTURE_REJECTED": 1,
        "PICTURE_WITHOUT_ANNOTATION": 1,
        "TRUNCATED": 1,
        "WRONG_FORMAT": 3,
        "ZERO_AREA_BOX": 1,
    }
    named = reasons(told)
    assert named["cut.jpg"] == "TRUNCATED"
    assert named["cut.xml"] == "PICTURE_REJECTED"
    assert named["lost.xml"] == "ANNOTATION_WITHOUT_PICTURE"
    assert named["bomb.xml"] == "HOSTILE_XML"
    zero = next(problem for problem in told["problems"] if problem["reason"] == "ZERO_AREA_BOX")
    assert (zero["class_name"], zero["edges"], zero["line"]) == ("dot", [7.0, 7.0, 7.0, 9.0], 4)


def test_an_identical_picture_brings_the_labels_that_were_missing(tmp_path):
    data = picture()
    files = {"images/a.jpg": data, "images/b.jpg": data, "gt/b.xml": voc(CELL), "images/c.jpg": data}
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert rows["a.jpg"].names == ("a.jpg", "b.jpg", "c.jpg")
    assert rows["a.jpg"].boxes == (Box("cell", 5, 6, 10, 20),)
    assert told["pictures"] == {"total": 3, "accepted": 1, "merged": 2, "rejected": 0}
    assert told["annotated"] == 1


def test_predictions_and_their_model(tmp_path):
    files = {
        "images/a.jpg": picture(),
        "gt/a.xml": voc(CELL, confidence=-1),
        "pred/a.xml": voc(CELL, confidence=0.5),
        "images/b.jpg": picture(1),
        "pred/b.xml": voc(CELL),
        "pred/meta.yaml": b"eval_class_names: [cell]\nmodel: {model_hash: abc, stage_name: best}\n",
    }
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert rows["a.jpg"].predictions == (Box("cell", 5, 6, 10, 20, score=0.5),)
    assert rows["a.jpg"].boxes == (Box("cell", 5, 6, 10, 20),)
    assert rows["b.jpg"].predictions == ()
    assert told["reasons"]["NO_SCORE"] == 1
    model = {"name": "abc", "model_hash": "abc", "stage_name": "best", "class_names": ["cell"]}
    assert told["prediction_model"] == model


def test_splits_of_image_sets(tmp_path):
    files = {f"VOC/JPEGImages/{name}.jpg": picture(index) for index, name in enumerate("abc")}
    files |= {
        "VOC/ImageSets/Main/trainval.txt": b"a\nb\n",
        "VOC/ImageSets/Main/train.txt": b"a\n",
        "VOC/ImageSets/Main/cell_train.txt": b"a 1\nb -1\n",
    }
    _, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert [rows[f"{name}.jpg"].split for name in "abc"] == ["train", "trainval", None]


# Without exchanged sides (up to 4) a file cannot say that it means the stored frame.
FRAMES = [(number, "upright") for number in range(1, 9)] + [(number, "stored") for number in range(5, 9)]


@pytest.mark.parametrize(("orientation", "frame"), FRAMES)
def test_boxes_live_in_the_upright_frame(tmp_path, orientation, frame):
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:24, 16:48] = 255
    data = with_exif(cv2.imencode(".jpg", image)[1].tobytes(), orientation)
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    rows, columns = np.nonzero(upright[..., 0] > 127)
    box = Box("cell", columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    size = upright.shape[1::-1]
    written = voc(("cell", int(box.x), int(box.y), int(box.x2) - 1, int(box.y2) - 1), size=size)
    if frame == "stored":
        written = voc(("cell", 16, 8, 47, 23))
    _, taken_rows = taken(zipped(tmp_path / "s.zip", {"images/a.jpg": data, "gt/a.xml": written}), tmp_path)
    row = taken_rows["a.jpg"]
    assert (row.width, row.height, row.orientation) == (*size, orientation)
    assert row.boxes == (box,)
    assert (row.derived_digest is None) == (orientation == 1)
    copy = np.frombuffer(read_packed(tmp_path / "out" / "blobs")[row.upright_digest], np.uint8)
    plain = cv2.imdecode(copy, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert plain.shape == upright.shape
    assert np.abs(plain.astype(int) - upright).mean() < 2


def tiff(image, orientation):
    """Returns an unpacked TIFF of one strip, with an orientation, which OpenCV cannot write."""
    height, width = image.shape[:2]
    pixels = image[..., ::-1].tobytes()
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (274, orientation), (277, 3)]
    tags += [(278, height), (279, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 279 else 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("extension", "orientation"), [("webp", 1), *(("tiff", number) for number in range(1, 9))])
def test_webp_and_tiff_get_an_upright_png(tmp_path, extension, orientation):
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:24, 10:30] = (10, 100, 200)
    data = tiff(image, orientation) if extension == "tiff" else cv2.imencode(".webp", image)[1].tobytes()
    _, rows = taken(zipped(tmp_path / "s.zip", {f"images/a.{extension}": data}), tmp_path)
    row = rows[f"a.{extension}"]
    assert row.upright_extension == "png"
    copy = np.frombuffer(read_packed(tmp_path / "out" / "blobs")[row.upright_digest], np.uint8)
    plain = cv2.imdecode(copy, cv2.IMREAD_COLOR)
    turns = {2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.transpose(1, 0, 2)}
    turns |= {1: image, 6: np.rot90(image, -1), 7: np.rot90(image, 2).transpose(1, 0, 2), 8: np.rot90(image)}
    expected = turns[orientation]
    assert (row.height, row.width) == expected.shape[:2]
    assert plain.shape == expected.shape
    assert np.abs(plain.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "C:\\evil.jpg", "..\\evil.jpg"])
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out_refuse_the_source(tmp_path, name, form):
    source = tmp_path / f"s.{form}"
    if form == "zip":
        zipped(source, {"images/a.jpg": picture(), name: picture(1)})
    else:
        with tarfile.open(source, "w") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    refused(source, tmp_path, "UNSAFE_NAME")


def refused(source, tmp_path, reason, **options):
    with pytest.raises(FormatError) as caught:
        taken(source, tmp_path, **options)
    assert caught.value.reason == reason
    assert not list((tmp_path / "out").glob("*.part"))


@pytest.mark.parametrize("form", ["zip", "tar", "folder"])
def test_links_refuse_the_source(tmp_path, form):
    source = tmp_path / f"s.{form}"
    if form == "folder":
        (source / "images").mkdir(parents=True)
        (source / "images" / "a.jpg").symlink_to("/etc/passwd")
    elif form == "zip":
        info = zipfile.ZipInfo("images/a.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr(info, "/etc/passwd")
    else:
        link = tarfile.TarInfo("images/a.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        with tarfile.open(source, "w") as archive:
            archive.addfile(link)
    refused(source, tmp_path, "LINK")


def test_devices_in_a_folder_refuse_it(tmp_path):
    (tmp_path / "s" / "images").mkdir(parents=True)
    os.mkfifo(tmp_path / "s" / "images" / "a.jpg")
    refused(tmp_path / "s", tmp_path, "LINK")


def test_bombs_refuse_the_source(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.jpg", bytes(5 << 20))
    refused(tmp_path / "s.zip", tmp_path, "EMPTY_SOURCE", max_picture_bytes=1 << 20)
    refused(tmp_path / "s.zip", tmp_path, "BOMB", max_total_bytes=1 << 20)
    with tarfile.open(tmp_path / "s.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("images/a.jpg")
        info.size = 5 << 20
        archive.addfile(info, io.BytesIO(bytes(5 << 20)))
    refused(tmp_path / "s.tgz", tmp_path, "BOMB", max_total_bytes=1 << 20)


def test_a_picture_of_too_many_pixels_is_rejected(tmp_path):
    files = {"images/a.jpg": picture(), "images/b.jpg": picture(width=640, height=480)}
    told, _ = taken(zipped(tmp_path / "s.zip", files), tmp_path, max_pixels=10_000)
    assert reasons(told) == {"b.jpg": "PIXEL_BOMB"}


def test_broken_and_empty_sources_are_refused(tmp_path):
    good = zipped(tmp_path / "good.zip", {"images/a.jpg": picture(), "images/b.jpg": picture(1)}).read_bytes()
    for name, data, reason in (
        ("nothing", b"", "BROKEN_ARCHIVE"),
        ("text", b"no archive", "BROKEN_ARCHIVE"),
        ("cut", good[:-60], "BROKEN_ARCHIVE"),
        ("half", good[: len(good) // 2], "BROKEN_ARCHIVE"),
        ("gzip", b"\x1f\x8b\x08\x00" + bytes(20), "BROKEN_ARCHIVE"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, tmp_path, reason)
    refused(zipped(tmp_path / "e.zip", {"readme": b""}), tmp_path, "EMPTY_SOURCE")
    refused(zipped(tmp_path / "n.zip", {"images/a.jpg": b"none"}), tmp_path, "EMPTY_SOURCE")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("data.yaml", "YOLO_WITHOUT_NAMES"), ("annotations/instances.json", "BAD_COCO"), ("a/b.json", "BAD_COCO")],
)
def test_annotations_that_cannot_be_read_are_not_lost_in_silence(tmp_path, name, reason):
    source = zipped(tmp_path / "s.zip", {"images/a.jpg": picture(), name: b"{}"})
    refused(source, tmp_path, reason)
    told, _ = taken(source, tmp_path, format="voc")
    assert told["pictures"]["accepted"] == 1
    refused(source, tmp_path, "UNKNOWN_FORMAT", format="tfrecord")


@pytest.mark.parametrize(
    ("images", "labels"), [("images/train", "labels/train"), ("top/train/images", "top/train/labels")]
)
def test_yolo(tmp_path, images, labels):
    files = {
        "data.yaml": b"names: [cell, dot]\ntrain: images/train\n",
        f"{images}/a.jpg": picture(),
        f"{labels}/a.txt": b"1 0.5 0.5 0.25 0.5\n0 0.5 0.5 0 0.5\n",
        f"{images}/b.jpg": picture(1),
        f"{labels}/b.txt": b"7 0.5 0.5 0.25 0.5\n",
        f"{images}/c.jpg": picture(2),
        f"{labels}/c.txt": b"",
    }
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    by_leaf = {Path(name).name: row for name, row in rows.items()}
    assert told["format"] == "yolo"
    assert by_leaf["a.jpg"].boxes == (Box("dot", 24, 12, 16, 24),)
    assert by_leaf["b.jpg"].boxes is None
    assert by_leaf["c.jpg"].boxes == ()
    assert by_leaf["a.jpg"].split == "train"
    assert told["reasons"] == {"UNKNOWN_CLASS_NUMBER": 1, "ZERO_AREA_BOX": 1}


def test_coco(tmp_path):
    raw = {
        "categories": [{"id": 7, "name": "cell"}],
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.jpg"},
            {"id": 3, "file_name": "lost.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1.5, 2, 10, 20], "iscrowd": 1, "box_quality": "good"},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [1.5, 2, 0, 20]},
            {"id": 3, "image_id": 1, "category_id": 9, "bbox": [1.5, 2, 3, 20]},
        ],
    }
    files = {f"images/{name}.jpg": picture(index) for index, name in enumerate("abc")}
    files["annotations/instances_val2017.json"] = json.dumps(raw).encode()
    told, rows = taken(zipped(tmp_path / "s.zip", files), tmp_path)
    assert told["format"] == "coco"
    assert rows["a.jpg"].boxes == (Box("cell", 1.5, 2, 10, 20, crowd=True),)
    assert rows["a.jpg"].split == "val"
    assert rows["b.jpg"].boxes == ()
    assert rows["c.jpg"].boxes is None
    assert told["annotations"] == {"total": 1, "accepted": 1, "merged": 0, "rejected": 0}
    expected = {
        "ANNOTATION_WITHOUT_PICTURE": 1,
        "PICTURE_WITHOUT_ANNOTATION": 1,
        "UNKNOWN_CATEGORY": 1,
        "ZERO_AREA_BOX": 1,
    }
    assert told["reasons"] == expected


def test_a_damaged_entry_is_rejected_alone(tmp_path):
    path = zipped(tmp_path / "s.zip", {"images/a.jpg": picture(), "images/b.jpg": picture(1)})
    data = bytearray(path.read_bytes())
    data[data.index(b"images/b.jpg") + 500] ^= 0xFF
    path.write_bytes(bytes(data))
    told, rows = taken(path, tmp_path)
    assert list(rows) == ["a.jpg"]
    assert reasons(told) == {"b.jpg": "UNREADABLE_FILE"}


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zipped(tmp_path / "s.zip", {"images/a.jpg": picture()})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    refused(path, tmp_path, "ENCRYPTED")


def test_decoding_finds_what_headers_hide(tmp_path):
    png = bytearray(picture(extension="png"))
    png[60:400] = bytes(340)
    path = zipped(tmp_path / "s.zip", {"images/a.png": bytes(png), "images/b.jpg": picture()})
    told, _ = taken(path, tmp_path, decode=True)
    assert reasons(told) == {"a.png": "UNREADABLE_PICTURE"}


@pytest.mark.skipif("LODE_TEST_DATA" not in os.environ, reason="LODE_TEST_DATA names no folder with BCCD")
def test_bccd_names_exactly_its_two_boxes_without_area(tmp_path):
    data = Path(os.environ["LODE_TEST_DATA"])
    told, _ = taken(data / "bccd-trainval.zip", tmp_path)
    assert {problem["file"]: problem["edges"] for problem in told["problems"]} == {
        "bccd-trainval/gt/BloodImage_00338.xml": [504.0, 337.0, 504.0, 337.0],
        "bccd-trainval/gt/BloodImage_00343.xml": [181.0, 329.0, 181.0, 329.0],
    }
    assert told["reasons"] == {"ZERO_AREA_BOX": 2}
    assert told["files"] == {"total": 585, "accepted": 584, "merged": 0, "rejected": 0, "other": 1}
    assert sorted(told["classes"]) == ["Platelets", "RBC", "WBC"]
    told, rows = taken(data / "bccd-test.zip", tmp_path)
    assert len(rows) == 72
    assert told["reasons"] == {}


def test_bytes_that_are_no_text_do_not_stop_an_import(tmp_path):
    folder = tmp_path / "s" / "images"
    folder.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(picture())
    with tarfile.open(tmp_path / "s.tar", "w", errors="surrogateescape", encoding="utf-8") as archive:
        archive.add(tmp_path / "s", "s")
    for source in (tmp_path / "s", tmp_path / "s.tar"):
        _, rows = taken(source, tmp_path)
        assert list(rows) == ["\ufffd.jpg"]


def test_damaged_archives_never_end_in_anything_but_a_refusal(tmp_path):
    files = {"images/a.jpg": picture(width=16, height=16), "gt/a.xml": voc(CELL), "images/b.png": picture(1, "png")}
    good = np.frombuffer(zipped(tmp_path / "good.zip", files).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(120):
        damaged = good.copy()
        places = len(good) - rng.integers(1, 300, 3)
        damaged[places] = rng.integers(0, 256, 3)
        (tmp_path / "s.zip").write_bytes(damaged.tobytes())
        try:
            taken(tmp_path / "s.zip", tmp_path)
        except FormatError:
            continue
