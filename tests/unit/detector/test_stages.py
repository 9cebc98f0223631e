import pytest
import torch
from lodeworks_detector.export import OnnxWriter
from lodeworks_detector.network import Detector, Shape, fuse_norms
from lodeworks_detector.stages import Stages
from lodeworks_detector.validation import Scores
from lodeworks_detector.weights import load_model
from lodeworks_executor import Task
from lodeworks_formats.protocol import Environment, render_environment
from lodeworks_formats.ymir_results import parse_training_result


@pytest.fixture(scope="module")
def writer():
    return OnnxWriter(class_names=["cat"], input_size=(64, 64))


@pytest.fixture
def stages_at(tmp_path, writer):
    def make(name):
        root = tmp_path / name
        root.mkdir()
        environment = Environment.at("t", operations={"training"}, input_root=str(root), output_root=str(root))
        (root / "env.yaml").write_text(render_environment(environment))
        (root / "config.yaml").write_text("class_names: [cat]\n")
        task = Task.load(root / "env.yaml")
        return Stages(task, writer=writer, class_names=["cat"], input_size=(64, 64), keep=2), root / "models"

    return make


def _model(seed=0):
    torch.manual_seed(seed)
    return Detector(classes=1, shape=Shape(width=0.25)).eval()


def _add(stages, epoch, ap):
    model = _model(epoch)
    stages.add(epoch, model, fuse_norms(model), Scores(ap, ap + 0.1, ap, {"cat": ap}))


def _result(models):
    return parse_training_result((models / "result.yaml").read_text())


def test_the_best_and_the_newest_stay(stages_at):
    stages, models = stages_at("out")
    for epoch, ap in [(1, 0.2), (2, 0.5), (3, 0.4), (4, 0.3)]:
        _add(stages, epoch, ap)
    found = _result(models)
    assert found.best_stage_name == "epoch_2"
    assert [stage.name for stage in found.stages] == ["epoch_2", "epoch_4"]
    assert found.stages[0].scores == pytest.approx({"mAP": 0.6, "mAR": 0.5, "mAP50_95": 0.5, "AP50/cat": 0.5})
    assert sorted(path.name for path in models.iterdir()) == ["epoch_2", "epoch_4", "result.yaml"]
    assert sorted(path.name for path in (models / "epoch_2").iterdir()) == ["model.onnx", "model.pt"]


def test_a_fresh_attempt_gets_the_best_stage_back(stages_at):
    stages, _ = stages_at("first")
    _add(stages, 1, 0.5)
    _add(stages, 2, 0.4)
    again, models = stages_at("second")
    again.restore(stages.state(), model=_model(7))
    assert (again.best.name, again.best.ap) == ("epoch_1", 0.5)
    assert _result(models).best_stage_name == "epoch_1"
    state = load_model(models / "epoch_1/model.pt").state
    for name, value in _model(1).state_dict().items():
        assert torch.equal(state[name], value)
