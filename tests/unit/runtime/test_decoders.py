"""Networks trained elsewhere, against a reference that shares nothing with the decoders: plain loops over numbers."""

import math

import numpy as np
import pytest
from foreign_networks import CLASSES, INFO, SIZE, STRIDES, made_outputs, model_info, save_foreign
from lodeworks_runtime import ModelError, load_onnx
from lodeworks_runtime.decoders import find_decoder
from lodeworks_runtime.letterbox import FITS, letterbox, plan_letterbox
from lodeworks_runtime.recipe import Recipe

PICTURES = [(96, 160), (480, 200), (120, 640), (37, 53)]


def _softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def _places(family, outputs):
    """Yields (scores by class, centre x, centre y, width, height) in pixels of the input."""
    if family == "detr":
        for logits, box in zip(outputs["logits"][0].tolist(), outputs["pred_boxes"][0].tolist(), strict=True):
            x, y, w, h = box
            yield _softmax(logits)[:-1], x * SIZE[1], y * SIZE[0], w * SIZE[1], h * SIZE[0]
        return
    (found,) = outputs.values()
    if family == "detections":
        for left, top, right, bottom, score, which in found[0].tolist():
            scores = [score if which == place else 0.0 for place in range(len(CLASSES))]
            yield scores, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        return
    if family == "yolov8":
        for place in range(found.shape[2]):
            x, y, w, h, *scores = found[0, :, place].tolist()
            yield scores, x, y, w, h
        return
    cells = [
        (column, row, stride)
        for stride in STRIDES
        for row in range(SIZE[0] // stride)
        for column in range(SIZE[1] // stride)
    ]
    for number, values in enumerate(found[0].tolist()):
        x, y, w, h, there, *scores = values
        if family == "yolox":
            column, row, stride = cells[number]
            x, y, w, h = (x + column) * stride, (y + row) * stride, math.exp(w) * stride, math.exp(h) * stride
        yield [there * score for score in scores], x, y, w, h


def _overlap(one, other):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(area) - shared)


def _reference(family, outputs, *, picture):
    """Returns the boxes (class, score, corners in the picture) that the family's network means."""
    info = model_info(family)
    found = [
        (score, CLASSES[which], (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        for scores, x, y, w, h in _places(family, outputs)
        for which, score in enumerate(scores)
        if score >= info["score_threshold"]
    ]
    kept = []
    for one in sorted(found, key=lambda each: -each[0]):
        if all(other[1] != one[1] or _overlap(one[2], other[2]) <= info["nms_iou"] for other in kept):
            kept.append(one)
    height, width = picture
    across, down = SIZE[1] / width, SIZE[0] / height
    shift_x = shift_y = 0
    fit = info.get("letterbox", {}).get("fit", "centre")
    if fit != "stretch":
        scale = min(across, down)
        new_w, new_h = round(width * scale), round(height * scale)
        across, down = new_w / width, new_h / height
        if fit == "centre":
            shift_x, shift_y = (SIZE[1] - new_w) // 2, (SIZE[0] - new_h) // 2
    answer = []
    for score, name, (left, top, right, bottom) in kept:
        corners = [
            min(max((left - shift_x) / across, 0), width),
            min(max((top - shift_y) / down, 0), height),
            min(max((right - shift_x) / across, 0), width),
            min(max((bottom - shift_y) / down, 0), height),
        ]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            answer.append((name, score, corners))
    return answer


@pytest.mark.parametrize("picture", PICTURES, ids=str)
@pytest.mark.parametrize("family", sorted(INFO))
def test_boxes_equal_the_reference(tmp_path, family, picture):
    for seed in range(3):
        path = save_foreign(tmp_path / f"{family}{seed}.onnx", family=family, seed=seed, info=model_info(family))
        image = np.full((*picture, 3), 100, dtype=np.uint8)
        boxes = load_onnx(path).predict([image])[0]
        wanted = _reference(family, made_outputs(family, seed=seed), picture=picture)
        assert len(wanted) > 5
        assert len({name for name, _, _ in wanted}) > 1
        assert [box.class_name for box in boxes] == [name for name, _, _ in wanted]
        for box, (_, score, corners) in zip(boxes, wanted, strict=True):
            assert box.score == pytest.approx(score, abs=1e-5)
            assert (box.x, box.y, box.x + box.w, box.y + box.h) == pytest.approx(corners, abs=2e-3 * max(picture) / 96)


def test_suppression_had_work():
    for family in set(INFO) - {"detr", "detections"}:
        outputs = made_outputs(family, seed=0)
        found = sum(score >= 0.3 for scores, *_ in _places(family, outputs) for score in scores)
        assert found > len(_reference(family, outputs, picture=SIZE)), family


def test_logits_without_a_class_for_nothing_go_through_a_sigmoid(tmp_path):
    named = [*CLASSES, "dog"]
    path = save_foreign(tmp_path / "rt.onnx", family="detr", info=model_info("detr", classes=named))
    raw = load_onnx(path).outputs([np.zeros((*SIZE, 3), np.uint8)])
    logits = made_outputs("detr", seed=0)["logits"]
    assert raw.scores == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("yolov5", {"classes": ["ant"]}, "wants 6 values a place for 1 classes, the network gives 8"),
        ("yolov8", {"classes": [*CLASSES, "dog"]}, "check the classes and the decoder"),
        ("yolox", {"strides": [8, 16]}, "check input_size and strides"),
        ("detr", {"classes": ["ant"]}, "4 logits a query, but the model names 1 classes"),
        ("yolov8", {"decoder": "detr"}, "wants an output named logits or pred_logits"),
        ("detr", {"decoder": "yolov5"}, "wants one output of three dimensions"),
        ("yolov5", {"decoder": "yolov99"}, "'yolov99' is not known: there are detections, detr, lodeworks, yolov5"),
        ("yolov5", {"letterbox": {"fit": "crop"}}, "letterbox.fit is 'crop': there are centre, top-left, stretch"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, family, changes, words):
    path = save_foreign(tmp_path / "wrong.onnx", family=family, info=model_info(family, **changes))
    with pytest.raises(ModelError, match=words):
        load_onnx(path).outputs([np.zeros((*SIZE, 3), np.uint8)])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("picture", PICTURES, ids=str)
def test_every_fit_comes_back_where_it_was(fit, picture):
    placement, (new_h, new_w) = plan_letterbox(picture, size=SIZE, fit=fit)
    canvas, placed = letterbox(np.full((*picture, 3), 200, np.uint8), size=SIZE, pad=7, fit=fit)
    assert placed == placement
    filled = np.argwhere((canvas == 200).all(axis=2))
    assert filled.min(axis=0).tolist() == [placement.pad_y, placement.pad_x]
    assert (filled.max(axis=0) - filled.min(axis=0) + 1).tolist() == [new_h, new_w]
    corners = np.array([[0, 0, picture[1], picture[0]], [3, 2, picture[1] / 2, picture[0] / 3]], np.float32)
    assert placement.to_picture(placement.to_input(corners)) == pytest.approx(corners, abs=1e-3)


def _decoded(**outputs):
    recipe = Recipe.from_model_info(model_info("detections"))
    return find_decoder("detections").decode(outputs, recipe=recipe)


def test_labels_of_torchvision_count_from_one():
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    found = _decoded(boxes=boxes, scores=np.array([0.5, 0.25], np.float32), labels=np.array([3, 1]))
    assert found.scores.tolist() == [[[0.0, 0.0, 0.5], [0.25, 0.0, 0.0]]]
    assert (found.boxes == boxes).all()


def test_a_network_may_find_nothing():
    found = _decoded(boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int64))
    assert found.scores.shape == (1, 0, 3)
    assert _decoded(output0=np.zeros((1, 300, 6), np.float32)).boxes.shape == (1, 0, 4)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"output0": np.array([[[0, 0, 1, 1, 0.5, 3]]], np.float32)}, "answers with class 3"),
        ({"output0": np.zeros((1, 4, 7), np.float32)}, "wants one output"),
        ({"output0": np.zeros((2, 4, 6), np.float32)}, "wants one output"),
        (
            {"boxes": np.zeros((2, 4), np.float32), "scores": np.zeros(1, np.float32), "labels": np.ones(2, np.int64)},
            "2 boxes, 1 scores and 2 labels",
        ),
    ],
)
def test_detections_of_a_wrong_form_are_refused(outputs, words):
    with pytest.raises(ModelError, match=words):
        _decoded(**outputs)
