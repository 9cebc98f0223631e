"""Made pictures: the same seed gives the same bytes, boxes fit what is drawn, rejects are there to be rejected."""

import cv2
import numpy as np
import pytest
from lodeworks_builtin.generate import main
from lodeworks_builtin.ingest import ingest
from lodeworks_builtin.made_pictures.archive import write_made_archive
from lodeworks_builtin.made_pictures.scene import draw_scene
from lodeworks_builtin.made_pictures.shapes import CLASSES, LOOK_ALIKES, draw_mask
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import GenerateOptions, IngestOptions


def _made(path, **options):
    write_made_archive(path, GenerateOptions(**options), progress=lambda *_: None)
    return path


def _imported(source, folder):
    report = ingest(
        source, exchange=folder / "exchange", blobs=folder / "blobs", options=IngestOptions(), progress=lambda *_: None
    )
    return report.to_json(), list(read_pictures(folder / "exchange"))


def test_a_seed_settles_every_byte(tmp_path):
    first = _made(tmp_path / "a.zip", pictures=5, seed=3).read_bytes()
    assert _made(tmp_path / "b.zip", pictures=5, seed=3).read_bytes() == first
    assert _made(tmp_path / "c.zip", pictures=5, seed=4).read_bytes() != first


def test_the_last_class_is_rare_and_sizes_vary(tmp_path):
    rng = np.random.default_rng(0)
    boxes = [box for _ in range(120) for box in draw_scene(rng, width=160, height=120, class_names=CLASSES).boxes]
    counts = {name: sum(box.class_name == name for box in boxes) for name in CLASSES}
    common = sum(counts[name] for name in CLASSES[:-1]) / 3
    assert 0 < counts["star"] < common / 2
    sides = sorted(max(box.w, box.h) for box in boxes)
    assert sides[-1] > 3 * sides[0]
    for box in boxes:
        assert box.x >= 0
        assert box.x2 <= 160
        assert box.y2 <= 120
        assert min(box.w, box.h) >= 4


@pytest.mark.parametrize("kind", [*CLASSES, *LOOK_ALIKES])
def test_a_mask_has_the_size_that_was_asked_for(kind):
    mask = draw_mask(kind, size=40, angle=0.3, centre=(50, 50), shape=(100, 100))
    _, _, w, h = cv2.boundingRect(mask)
    assert 24 <= max(w, h) <= 46


def test_every_reject_is_rejected(tmp_path):
    told, rows = _imported(_made(tmp_path / "a.zip", pictures=4, rejects=6, width=96, height=64), tmp_path)
    assert len(rows) == 4
    assert told["files"] == {"total": 14, "accepted": 8, "merged": 1, "rejected": 5, "other": 0}
    expected = {"TRUNCATED": 2, "WRONG_FORMAT": 1, "IDENTICAL": 1, "ANNOTATION_WITHOUT_PICTURE": 1, "EMPTY_FILE": 1}
    assert told["reasons"] == expected


def test_a_share_can_stay_without_annotation(tmp_path):
    _, rows = _imported(_made(tmp_path / "a.zip", pictures=40, annotated=0.5, width=64, height=64), tmp_path)
    assert 8 < sum(row.boxes is None for row in rows) < 32


@pytest.mark.parametrize("options", [{"classes": 0}, {"classes": 9}, {"pictures": 0}, {"width": 3}])
def test_impossible_options_are_refused(tmp_path, options):
    with pytest.raises(FormatError) as caught:
        _made(tmp_path / "a.zip", **options)
    assert caught.value.reason == "BAD_OPTIONS"


def test_from_the_command_line(tmp_path, capsys):
    assert main([str(tmp_path / "a.zip"), "--pictures", "2", "--seed", "1", "--width", "64", "--height", "64"]) == 0
    assert len(_imported(tmp_path / "a.zip", tmp_path)[1]) == 2
    assert main([str(tmp_path / "b.zip"), "--classes", "9"]) == 1
    assert "classes" in capsys.readouterr().err
