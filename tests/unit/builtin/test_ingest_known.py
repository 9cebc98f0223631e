"""Annotations for pictures that are there already: matched by name or digest, every file accounted for."""

import json

import pytest
from ingest_world import CELL, picture, reasons, taken, voc, zipped
from lodeworks_builtin.ingest import ingest
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import read_pictures, write_pictures
from lodeworks_formats.task_inputs import IngestOptions

BOX = (Box("cell", 5, 6, 10, 20),)


@pytest.fixture
def known(tmp_path):
    """A view of four pictures: two base names alike, one with an old box and a tag."""
    rows = [
        _row(0, "a.jpg"),
        _row(1, "left/b.jpg"),
        _row(2, "right/b.jpg"),
        _row(3, "d.jpg", boxes=(Box("old", 1, 1, 5, 5),), tags=("night",), split="val"),
    ]
    write_pictures(tmp_path / "known", rows, kind="view", class_names=["old"])
    return tmp_path / "known"


def _row(seed, name, **more):
    data = picture(seed)
    return Picture(sha256_hex(data), "jpg", 64, 48, size_bytes=len(data), names=(name,), **more)


def labelled(source, known, tmp_path, **options):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    report = ingest(
        source,
        exchange=out / "exchange",
        blobs=out / "blobs",
        options=IngestOptions(**options),
        progress=lambda *_: None,
        known=known,
    ).to_json()
    rows = {row.digest: row for row in read_pictures(out / "exchange")}
    for kind in ("files", "annotations", "predictions", "boxes"):
        counts = report[kind]
        parts = [counts[key] for key in ("accepted", "merged", "rejected", "other") if key in counts]
        assert counts["total"] == sum(parts)
    assert report["labelled"] == len(rows)
    assert not list((out / "blobs").iterdir())
    return report, rows


def digest(seed):
    return sha256_hex(picture(seed))


def test_by_name_by_path_and_by_digest(tmp_path, known):
    files = {
        "gt/a.xml": voc(CELL),
        "gt/left/b.xml": voc(CELL),
        f"gt/{digest(2)}.xml": voc(CELL, CELL),
        "gt/d.xml": b"<annotation/>",
        "gt/lost.xml": voc(CELL),
        "gt/b.xml": voc(CELL),
        "README": b"",
    }
    report, rows = labelled(zipped(tmp_path / "s.zip", files), known, tmp_path)
    assert rows[digest(0)].boxes == rows[digest(1)].boxes == BOX
    assert len(rows[digest(2)].boxes) == 2
    assert (rows[digest(3)].boxes, rows[digest(3)].tags, rows[digest(3)].split) == ((), ("night",), "val")
    assert reasons(report) == {"lost.xml": "ANNOTATION_WITHOUT_PICTURE", "b.xml": "AMBIGUOUS_NAME"}
    assert report["annotations"] == {"total": 6, "accepted": 4, "merged": 0, "rejected": 2}


def test_pictures_in_the_source_say_which_are_meant(tmp_path, known):
    files = {
        "images/other-name.jpg": picture(0),
        "gt/other-name.xml": voc(CELL),
        "images/stranger.jpg": picture(77),
        "gt/stranger.xml": voc(CELL),
        "gt/a.xml": voc(CELL),
    }
    report, rows = labelled(zipped(tmp_path / "s.zip", files), known, tmp_path)
    assert rows[digest(0)].boxes == BOX
    assert report["pictures"] == {"total": 2, "accepted": 0, "merged": 1, "rejected": 1}
    expected = {"stranger.jpg": "NOT_IN_DATASET", "stranger.xml": "PICTURE_REJECTED", "a.xml": "DUPLICATE_NAME"}
    assert reasons(report) == expected


def test_coco_and_yolo_label_what_is_there(tmp_path, known):
    images = [{"id": 1, "file_name": "left/b.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    images += [{"id": 3, "file_name": f"{digest(3)}.jpg"}]
    notes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [5, 6, 10, 20]} for n in (1, 2, 3)]
    raw = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cell"}]}
    source = zipped(tmp_path / "c.zip", {"x.json": json.dumps(raw).encode()})
    report, rows = labelled(source, known, tmp_path)
    assert {key: row.boxes for key, row in rows.items()} == {digest(1): BOX, digest(3): BOX}
    assert report["reasons"] == {"ANNOTATION_WITHOUT_PICTURE": 1}
    assert report["boxes"]["rejected"] == 1
    files = {"data.yaml": b"names: [cell]", "labels/a.txt": b"0 0.5 0.5 0.25 0.5"}
    _, rows = labelled(zipped(tmp_path / "y.zip", files), known, tmp_path)
    assert rows[digest(0)].boxes == (Box("cell", 24, 12, 16, 24),)


def test_predictions_alone_leave_the_ground_truth(tmp_path, known):
    files = {"pred/d.xml": voc(CELL, confidence=0.5), "pred/meta.yaml": b"model: {name: old}"}
    report, rows = labelled(zipped(tmp_path / "s.zip", files), known, tmp_path)
    assert rows[digest(3)].boxes is None
    assert [box.score for box in rows[digest(3)].predictions] == [0.5]
    assert report["prediction_model"]["name"] == "old"


def test_annotations_for_nothing_are_refused(tmp_path, known):
    source = zipped(tmp_path / "s.zip", {"gt/lost.xml": voc(CELL)})
    with pytest.raises(FormatError, match="none of its annotations is for a picture"):
        labelled(source, known, tmp_path)
    with pytest.raises(FormatError, match="--labels-for"):
        taken(source, tmp_path)
