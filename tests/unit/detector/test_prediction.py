import math
from importlib.resources import files

import cv2
import numpy as np
import pytest
import torch
import yaml
from lodeworks_detector.export import OnnxWriter
from lodeworks_detector.network import Detector, Shape, fuse_norms
from lodeworks_detector.prediction import entropy, predict
from lodeworks_executor import BadModelError, BadSettingError, Task
from lodeworks_formats.protocol import Environment, render_config, render_environment
from lodeworks_formats.ymir_results import parse_inference_result, parse_mining_result, parse_monitor


def test_entropy_is_highest_in_the_middle():
    assert entropy([]) == 0.0
    assert entropy([0.5]) == pytest.approx(math.log(2))
    assert entropy([0.5, 0.5]) == pytest.approx(2 * math.log(2))
    assert entropy([1.0, 0.0]) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = Detector(classes=1, shape=Shape(width=0.25)).eval()
    with torch.no_grad():
        for head in network.heads:
            head.class_out.weight.normal_(std=0.5)
            head.class_out.bias.zero_()
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    OnnxWriter(class_names=["cat"], input_size=(64, 64)).write(path, fuse_norms(network), score_threshold=0.25)
    return path


@pytest.fixture
def run(tmp_path, model):
    def make(operations, **settings):
        names = []
        for number in range(3):
            name = tmp_path / f"{number}.png"
            cv2.imwrite(str(name), np.random.default_rng(number).integers(0, 256, (50, 60, 3), dtype=np.uint8))
            names.append(str(name))
        (tmp_path / "candidate-index.tsv").write_text("\n".join(names) + "\n")
        environment = Environment.at(
            "t", operations=operations, input_root=str(tmp_path), output_root=str(tmp_path / "out")
        )
        (tmp_path / "env.yaml").write_text(render_environment(environment))
        config = {"class_names": ["cat"], "model_params_path": [str(model)], **settings}
        (tmp_path / "config.yaml").write_text(render_config(config))
        return Task.load(tmp_path / "env.yaml"), names

    return make


def test_one_pass_mines_and_infers(run, tmp_path):
    task, names = run({"mining", "infer"})
    predict(task)
    scores = dict(parse_mining_result((tmp_path / "out/result.tsv").read_text()))
    assert sorted(scores) == names
    assert all(score > 0 for score in scores.values())
    found = parse_inference_result((tmp_path / "out/infer-result.json").read_bytes())
    assert sorted(found) == ["0.png", "1.png", "2.png"]
    assert all(box.score >= 0.05 and box.class_name == "cat" for boxes in found.values() for box in boxes)
    assert parse_monitor((tmp_path / "out/monitor.txt").read_text()).fraction == 1.0


def test_a_model_without_onnx_is_refused(run, tmp_path):
    task, _ = run({"infer"}, model_params_path=[str(tmp_path / "model.pt")])
    with pytest.raises(BadModelError, match=r"no \.onnx among model\.pt"):
        predict(task)
    task, _ = run({"infer"}, model_params_path=[])
    with pytest.raises(BadSettingError, match="model_params_path"):
        predict(task)


@pytest.mark.parametrize("operation", ["mining", "infer"])
def test_the_templates_are_accepted(run, operation, tmp_path):
    template = yaml.safe_load((files("lodeworks_detector") / f"img-man/{operation}-template.yaml").read_text())
    task, _ = run({operation}, **template)
    predict(task)
