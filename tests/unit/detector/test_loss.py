import pytest
import torch
from lodeworks_detector.batches import Batch
from lodeworks_detector.loss import assign, detection_loss, generalised_iou, pairwise_iou
from lodeworks_detector.network import Prediction, cell_centres


def _prediction(boxes_around, *, classes=2, logit=-4.0, size=64, stride=8):
    """A network that says the same box at every place, and no class more than another."""
    side = size // stride
    centres = cell_centres(side, side, stride=stride, device=torch.device("cpu"))
    boxes = torch.tensor(boxes_around, dtype=torch.float32).expand(1, side * side, 4).clone()
    logits = torch.full((1, side * side, classes), logit)
    return Prediction(logits, boxes, torch.zeros(1, 4), centres, torch.full((side * side,), float(stride)))


def _batch(boxes, classes, *, padding=0):
    padded = torch.tensor([[*boxes, *[[0.0] * 4] * padding]], dtype=torch.float32).reshape(1, -1, 4)
    valid = torch.tensor([[True] * len(boxes) + [False] * padding])
    return Batch(torch.zeros(1, 3, 64, 64), padded, torch.tensor([[*classes, *[0] * padding]]), valid)


def test_overlaps_are_those_of_the_textbook():
    first = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]])
    second = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]]])
    assert pairwise_iou(first, second)[0, 0].tolist() == pytest.approx([1.0, 1 / 3, 0.0], abs=1e-6)
    giou = generalised_iou(first[0].expand(3, 4), second[0])
    assert giou.tolist() == pytest.approx([1.0, 1 / 3, 200 / 900 - 1], abs=1e-5)


def test_ten_places_inside_the_box_learn_it():
    found = assign(_prediction([8, 8, 48, 48]), _batch([[8, 8, 48, 48]], [1]), floor=0.0)
    assert int(found.positive.sum()) == 10
    centres = _prediction([0, 0, 1, 1]).centres[found.positive[0]]
    assert ((centres > 8) & (centres < 48)).all()
    assert float(found.weight[found.positive].max()) == pytest.approx(1.0, abs=1e-3)
    assert float(found.score[found.positive].max()) == pytest.approx(1.0, abs=1e-3)


def test_a_box_smaller_than_a_cell_is_still_learnt():
    found = assign(_prediction([30, 30, 34, 34]), _batch([[33, 33, 35, 35]], [0]), floor=0.5)
    assert int(found.positive.sum()) >= 1


def test_the_floor_lifts_the_target_of_a_poor_overlap():
    poor = _prediction([8, 8, 16, 16])
    batch = _batch([[8, 8, 56, 56]], [0])
    low = assign(poor, batch, floor=0.0).score.max()
    high = assign(poor, batch, floor=0.6).score.max()
    assert float(low) == pytest.approx(64 / 48**2, rel=0.05)
    assert float(high) == pytest.approx(0.6, abs=0.01)


def test_an_ambiguous_place_learns_the_box_it_overlaps_most():
    batch = _batch([[0, 0, 64, 64], [16, 16, 40, 40]], [0, 1])
    found = assign(_prediction([16, 16, 40, 40]), batch, floor=0.0)
    inside = ((found.box == 1) & found.positive).sum()
    assert int(inside) == 9  # the nine centres in the smaller box


def test_padding_learns_nothing():
    with_padding = assign(_prediction([8, 8, 48, 48]), _batch([[8, 8, 48, 48]], [1], padding=3), floor=0.3)
    without = assign(_prediction([8, 8, 48, 48]), _batch([[8, 8, 48, 48]], [1]), floor=0.3)
    assert torch.equal(with_padding.positive, without.positive)
    assert torch.equal(with_padding.score[with_padding.positive], without.score[without.positive])


def test_a_picture_without_boxes_has_a_finite_loss():
    losses = detection_loss(_prediction([0, 0, 8, 8]), _batch([], [], padding=1), floor=0.6)
    assert float(losses.boxes) == 0.0
    assert torch.isfinite(losses.total)


def test_better_boxes_cost_less():
    batch = _batch([[8, 8, 48, 48]], [1])
    losses = [
        float(detection_loss(_prediction(box), batch, floor=0.0).boxes)
        for box in ([8, 8, 48, 48], [8, 8, 40, 40], [4, 4, 24, 24])
    ]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(0.0, abs=1e-5)
