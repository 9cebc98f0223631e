import cv2
import numpy as np
import pytest
import torch
from lodeworks_detector.examples import Example, read_examples
from lodeworks_detector.network import Prediction
from lodeworks_detector.validation import Scores, Validation
from lodeworks_executor import Sample
from lodeworks_formats.boxes import Box
from lodeworks_runtime import letterbox

SIZE = (64, 64)
NAMES = ("cat", "dog", "owl")


@pytest.fixture
def examples(tmp_path):
    made = []
    for number, boxes in enumerate(([[10, 10, 40, 30]], [[0, 0, 20, 20], [50, 20, 79, 59]], [])):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((60, 80, 3), number, dtype=np.uint8))
        corners = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        made.append(Example(path, corners, np.arange(len(boxes), dtype=np.int64)))
    return made


class Oracle:
    """Stands for a network that knows the answers, by the grey value of a picture."""

    def __init__(self, examples, *, silent_class=None):
        self._examples = examples
        self._silent_class = silent_class

    def __call__(self, images):
        logits = torch.full((len(images), 4, 3), -12.0)
        boxes = torch.zeros(len(images), 4, 4)
        for row, image in enumerate(images):
            example = self._examples[round(float(image[0, 32, 32]) * 255)]
            placement = letterbox(np.zeros((60, 80, 3), dtype=np.uint8), size=SIZE)[1]
            boxes[row, : len(example.boxes)] = torch.from_numpy(placement.to_input(example.boxes))
            for place, name in enumerate(example.classes):
                if name != self._silent_class:
                    logits[row, place, name] = 4.0
        return Prediction(logits, boxes, torch.zeros(len(images), 1), torch.zeros(4, 2), torch.zeros(4))


def _measure(examples, model):
    validation = Validation(examples, class_names=NAMES, size=SIZE, batch_size=2, budget_bytes=10**6)
    return validation.measure(model, device=torch.device("cpu"), precision=torch.float32)


def test_a_network_that_knows_everything_scores_one(examples):
    scores = _measure(examples, Oracle(examples))
    assert (scores.ap50, scores.ap) == pytest.approx((1.0, 1.0))
    assert scores.per_class == pytest.approx({"cat": 1.0, "dog": 1.0})  # no picture has an owl
    assert scores.classes_at_zero == []


def test_a_class_that_is_never_found_is_at_zero(examples):
    scores = _measure(examples, Oracle(examples, silent_class=1))
    assert scores.ap50 == pytest.approx(0.5)
    assert scores.classes_at_zero == ["dog"]


def test_a_network_that_finds_nothing_scores_zero(examples):
    nothing = [Example(one.path, one.boxes[:0], one.classes[:0]) for one in examples]
    assert _measure(examples, Oracle(nothing)) == Scores(0.0, 0.0, 0.0, {"cat": 0.0, "dog": 0.0})


def test_examples_keep_the_classes_asked_for_whatever_their_case(tmp_path):
    boxes = (
        Box("Dog", 1, 2, 3, 4),
        Box("bird", 0, 0, 9, 9),
        Box("cat", 5, 5, 0, 2),
        Box("cat", 0, 0, 50, 50, crowd=True),
    )
    sample = Sample(tmp_path / "a.jpg", tmp_path / "a.xml", lambda asset, annotation: boxes)
    (example,) = read_examples([sample], class_names=["cat", "dog"])
    assert example.boxes.tolist() == [[1, 2, 4, 6]]
    assert example.classes.tolist() == [1]
