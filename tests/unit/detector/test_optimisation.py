import pytest
import torch
from lodeworks_detector.network import Detector, Shape
from lodeworks_detector.optimisation import RunningMean, learning_rate_at, make_optimizer


@pytest.fixture
def model():
    return Detector(classes=1, shape=Shape(width=0.25))


def test_the_rate_warms_up_and_falls_to_a_fiftieth():
    rates = [learning_rate_at(step, steps=100, warm_up=10, peak=1.0) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == max(rates) == 1.0
    assert rates[100] == pytest.approx(0.02)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_biases_and_norms_do_not_decay(model):
    decayed, spared = make_optimizer(model, learning_rate=1e-3).param_groups
    assert decayed["weight_decay"] > 0
    assert spared["weight_decay"] == 0
    assert all(value.ndim > 1 for value in decayed["params"])
    assert all(value.ndim == 1 for value in spared["params"])


def test_the_mean_follows_the_weights(model):
    mean = RunningMean(model)
    name, weight = next(iter(model.named_parameters()))
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    mean.update(model)
    moved = mean.model.state_dict()[name] - before
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 2 / 11))
    for _ in range(200):
        mean.update(model)
    torch.testing.assert_close(mean.model.state_dict()[name], weight.detach())
