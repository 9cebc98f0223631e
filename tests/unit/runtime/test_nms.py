import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_runtime.detections import select
from lodeworks_runtime.nms import suppress
from lodeworks_runtime.recipe import Thresholds


def plain(boxes, classes, *, iou, limit):
    kept = []
    for i, (box, which) in enumerate(zip(boxes, classes, strict=True)):
        if len(kept) == limit:
            break
        for j in kept:
            other = boxes[j]
            width = max(np.float32(0), min(box[2], other[2]) - max(box[0], other[0]))
            height = max(np.float32(0), min(box[3], other[3]) - max(box[1], other[1]))
            shared = width * height
            union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
            if classes[j] == which and shared > np.float32(iou) * union:
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 130), iou=st.sampled_from([0.1, 0.45, 0.6, 1.0]))
def test_equals_the_plain_greedy_algorithm(seed, count, iou):
    random = np.random.default_rng(seed)
    corner = random.integers(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + random.integers(0, 30, (count, 2))], axis=1).astype(np.float32)
    classes = random.integers(0, 3, count)
    limit = int(random.integers(1, 100))
    assert suppress(boxes, classes, iou=iou, limit=limit).tolist() == plain(boxes, classes, iou=iou, limit=limit)


def test_other_classes_do_not_suppress():
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    assert suppress(boxes, np.array([0, 1, 0]), iou=0.5, limit=9).tolist() == [0, 1]


def test_select_takes_the_best_and_keeps_the_order_of_equal_scores():
    scores = np.array([[0.5, 0.1], [0.9, 0.5], [0.2, 0.5]], np.float32)
    boxes = np.array([[0, 0, 5, 5], [20, 20, 30, 30], [50, 50, 60, 60]], np.float32)
    found = select(scores, boxes, thresholds=Thresholds(score=0.2))
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5, 0.2])
    assert found.classes.tolist() == [0, 0, 1, 1, 0]
    assert found.places.tolist() == [1, 0, 1, 2, 2]


@pytest.mark.parametrize("candidates", [1, 7, 1000])
def test_select_considers_the_candidates_of_highest_score(candidates):
    random = np.random.default_rng(3)
    scores = random.random((4000, 2), dtype=np.float32)
    corner = np.stack([np.arange(4000) * 10.0, np.zeros(4000)], axis=1)
    boxes = np.concatenate([corner, corner + 5], axis=1).astype(np.float32)
    chosen = Thresholds(score=0.0, candidates=candidates, max_detections=5000)
    found = select(scores, boxes, thresholds=chosen)
    assert found.scores.tolist() == np.sort(scores.ravel())[::-1][:candidates].tolist()


def test_a_lower_threshold_does_not_change_the_boxes_above_it():
    random = np.random.default_rng(4)
    scores = random.random((800, 3), dtype=np.float32) ** 3
    corner = random.random((800, 2)) * 200
    boxes = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
    low = select(scores, boxes, thresholds=Thresholds(score=0.05))
    high = select(scores, boxes, thresholds=Thresholds(score=0.5))
    assert low.places[: len(high)].tolist() == high.places.tolist()


def test_no_box_at_all():
    found = select(np.zeros((10, 2), np.float32), np.zeros((10, 4), np.float32), thresholds=Thresholds())
    assert len(found) == 0
