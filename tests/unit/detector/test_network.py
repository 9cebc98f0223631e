import pytest
import torch
from lodeworks_detector.network import STRIDES, Detector, Shape, cell_centres, fuse_norms


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Detector(classes=3, shape=Shape(width=0.5)).eval()


def test_the_default_network_is_small():
    assert 1.2e6 < sum(value.numel() for value in Detector(classes=3).parameters()) < 1.4e6


def test_each_place_has_scores_and_a_box_around_it(model):
    with torch.no_grad():
        found = model(torch.rand(2, 3, 64, 96))
    places = sum(64 // stride * 96 // stride for stride in STRIDES)
    assert found.logits.shape == (2, places, 3)
    assert found.boxes.shape == (2, places, 4)
    assert found.embedding.shape[0] == 2
    assert found.centres.shape == (places, 2)
    assert (found.boxes[..., :2] < found.centres).all()
    assert (found.boxes[..., 2:] > found.centres).all()


def test_a_fresh_network_claims_nothing(model):
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 64)).logits.sigmoid().max() < 0.05


def test_cells_are_counted_row_by_row():
    centres = cell_centres(2, 3, stride=8, device=torch.device("cpu"))
    assert centres.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def test_folding_the_norms_changes_nothing(model):
    model.train()
    for _ in range(3):
        model(torch.rand(2, 3, 64, 64))
    model.eval()
    images = torch.rand(2, 3, 64, 64)
    fused = fuse_norms(model)
    assert not any("norm" in name for name in fused.state_dict())
    with torch.no_grad():
        before, after = model(images), fused(images)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.boxes, before.boxes, rtol=1e-4, atol=1e-3)


def test_width_and_depth_scale():
    assert Shape(width=2.0).channels(16) == 32
    assert Shape(width=0.25).channels(16) == 8
    assert Shape(depth=3.0).repeats(2) == 6
    assert Shape(depth=0.25).repeats(1) == 1
