import pytest
from lodeworks_builtin.convert_ladder import Tried, next_attempt
from lodeworks_converters import GuardScores, judge

REFERENCE = GuardScores(0.5, 0.8, {"a": 0.5})
LAYERS = [f"conv{number}" for number in range(30)]


def climb(target, precision, drops):
    """Returns the labels of the steps that follow each other when these drops are measured."""
    tried, labels = [], []
    for drop in drops:
        attempt = next_attempt(target, precision, tried=tried, worst_layers=lambda: LAYERS)
        if attempt is None:
            break
        labels.append(attempt.label)
        scores = GuardScores(0.5 - drop, 0.8, {"a": 0.5 - drop})
        tried.append(Tried(attempt, scores, judge(REFERENCE, scores, max_drop=0.0)))
    return labels, tried


def test_float_precisions_have_one_step():
    assert climb("openvino", "fp16", [1] * 9)[0] == ["fp16"]


def test_onnx_has_no_bias_correction():
    labels, _ = climb("onnx", "int8", [0.3, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert labels == ["min-max", "percentile", "percentile, 3 layers float", "percentile, 9 layers float"]


def test_openvino_goes_on_from_the_best_of_the_plain_steps():
    labels, tried = climb("openvino", "int8", [0.3, 0.4, 0.1, 0.2, 0.2, 0.2])
    assert labels == [
        "min-max",
        "percentile",
        "min-max, bias correction",
        "min-max, bias correction, 3 layers float",
        "min-max, bias correction, 9 layers float",
    ]
    assert tried[3].attempt.keep_float == ("conv0", "conv1", "conv2")


def test_the_ranking_is_only_asked_for_when_it_is_needed():
    def never():
        pytest.fail("asked too early")

    tried = climb("onnx", "int8", [0.3])[1]
    assert next_attempt("onnx", "int8", tried=tried, worst_layers=never).label == "percentile"
