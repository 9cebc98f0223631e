"""The built-in evaluate from its folders of roles to its three outputs."""

import json

import cv2
import numpy as np
import pytest
import yaml
from lodeworks_builtin.evaluate import run
from lodeworks_evaluation.thresholds import counts_at, read_matches
from lodeworks_executor import BadDatasetError, BadSettingError, Task
from lodeworks_formats import task_inputs
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import write_pictures


def made_picture(seed):
    image = np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def folders(tmp_path):
    given, left = tmp_path / "in", tmp_path / "out"
    (given / "lode").mkdir(parents=True)
    left.mkdir()
    (given / "env.yaml").write_text(
        yaml.safe_dump({"task_id": "t1", "input": {"root_dir": str(given)}, "output": {"root_dir": str(left)}})
    )
    (given / "config.yaml").write_text("model_name: cells@2:best\ndataset_name: <test>@1\n")
    return given, left


def put(given, pictures, predictions, class_names=("cat", "dog")):
    write_pictures(given / "lode" / "view", pictures, class_names=class_names)
    write_pictures(given / "lode" / "predictions", predictions, class_names=class_names)


def pair(seed, truths, found):
    data = made_picture(seed)
    facts = {"digest": sha256_hex(data), "extension": "png", "width": 160, "height": 120}
    return data, Picture(**facts, boxes=truths), Picture(**facts, predictions=found)


def test_it_leaves_table_summary_and_report(folders):
    given, left = folders
    data, picture, found = pair(
        1,
        (Box("cat", 10, 10, 40, 40), Box("dog", 90, 20, 30, 60)),
        (Box("cat", 10, 10, 40, 40, score=0.9), Box("cat", 60, 60, 20, 20, score=0.8)),
    )
    asset = given / "assets" / asset_path(picture.hash_name)
    asset.parent.mkdir(parents=True)
    asset.write_bytes(data)
    put(given, [picture], [found])
    run(Task.load(given / "env.yaml"))
    total, each = counts_at(read_matches(left / "lode" / "match_table"), conf=0.5)
    assert (total.tp, total.fp, total.fn) == (1, 1, 1)
    assert each["dog"].fn == 1
    summary = json.loads((left / "lode" / "summary").read_text())
    assert summary["per_class"]["cat"]["ap50"] == pytest.approx(1.0)
    assert summary["ap50"] == pytest.approx(0.5)
    page = (left / "lode" / "report_html").read_text()
    assert "cells@2:best on &lt;test&gt;@1" in page
    assert "data:image/jpeg;base64," in page
    assert "http" not in page


def test_without_pictures_the_report_still_shows_the_boxes(folders):
    given, left = folders
    _, picture, found = pair(1, (Box("cat", 10, 10, 40, 40),), ())
    put(given, [picture], [found])
    run(Task.load(given / "env.yaml"))
    page = (left / "lode" / "report_html").read_text()
    assert "<image" not in page
    assert 'class="mistake"' in page


def test_a_perfect_model_has_no_mistakes_to_show(folders):
    given, left = folders
    _, picture, found = pair(1, (Box("cat", 10, 10, 40, 40),), (Box("cat", 10, 10, 40, 40, score=0.9),))
    put(given, [picture], [found])
    run(Task.load(given / "env.yaml"))
    assert "Not one wrong box" in (left / "lode" / "report_html").read_text()


def test_classes_of_a_view_that_does_not_say_come_from_the_boxes(folders):
    given, left = folders
    _, picture, found = pair(1, (Box("cat", 10, 10, 40, 40),), (Box("cow", 10, 10, 40, 40, score=0.9),))
    put(given, [picture], [found], class_names=None)
    run(Task.load(given / "env.yaml"))
    assert json.loads((left / "lode" / "summary").read_text())["class_names"] == ["cat", "cow"]


def test_what_cannot_be_evaluated_is_refused(folders):
    given, _ = folders
    _, picture, found = pair(1, None, ())
    put(given, [picture], [found])
    with pytest.raises(BadDatasetError, match="no picture of the dataset is annotated"):
        run(Task.load(given / "env.yaml"))
    (given / "lode" / "predictions").write_bytes(b"rubbish")
    with pytest.raises(BadDatasetError):
        run(Task.load(given / "env.yaml"))


@pytest.mark.parametrize(
    ("options", "key"), [({"protocol": "voc"}, "protocol"), ({"iou": 2.0}, "iou"), ({"ioo": 1.0}, "ioo")]
)
def test_bad_options_are_named(folders, options, key):
    given, _ = folders
    (given / "lode" / task_inputs.OPTIONS).write_text(json.dumps(options))
    with pytest.raises(BadSettingError, match=key):
        run(Task.load(given / "env.yaml"))
