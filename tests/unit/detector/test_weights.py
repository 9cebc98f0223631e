import pickle

import pytest
import torch
from lodeworks_detector.network import Detector, Shape
from lodeworks_detector.weights import continue_from, find_weights, load_model, save_model
from lodeworks_executor import BadModelError

SMALL = Shape(width=0.25)


def _model(classes, seed):
    torch.manual_seed(seed)
    return Detector(classes=classes, shape=SMALL)


@pytest.fixture
def saved(tmp_path):
    model = _model(2, 1)
    with torch.no_grad():
        for head in model.heads:
            head.class_out.bias.copy_(torch.tensor([1.0, 2.0]))
    save_model(tmp_path / "model.pt", model, class_names=["cat", "dog"], input_size=(64, 96))
    return tmp_path / "model.pt"


def test_a_model_comes_back_as_it_was(saved):
    model = load_model(saved)
    assert (model.class_names, model.input_size, model.shape) == (("cat", "dog"), (64, 96), SMALL)
    fresh = _model(2, 2)
    assert continue_from(fresh, model, class_names=["cat", "dog"]) == ["cat", "dog"]
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, model.state[name])


def test_classes_go_by_name_and_new_ones_start_fresh(saved):
    fresh = _model(3, 2)
    assert continue_from(fresh, load_model(saved), class_names=["bird", "Dog", "cat"]) == ["Dog", "cat"]
    assert fresh.heads[0].class_out.bias.tolist() == pytest.approx([-4.6, 2.0, 1.0])
    assert torch.equal(fresh.backbone.stem.conv.weight, load_model(saved).state["backbone.stem.conv.weight"])


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(Bomb())])
def test_what_is_no_weights_is_refused_and_runs_nothing(tmp_path, capsys, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BadModelError, match=r"model\.pt"):
        load_model(tmp_path / "model.pt")
    assert "boom" not in capsys.readouterr().out


def test_a_pickle_in_the_archive_of_torch_runs_nothing(tmp_path, capsys):
    torch.save({"kind": Bomb()}, tmp_path / "model.pt")
    with pytest.raises(BadModelError):
        load_model(tmp_path / "model.pt")
    assert "boom" not in capsys.readouterr().out


def test_another_programs_model_is_told(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "model.pt")
    with pytest.raises(BadModelError, match="no model of the Lodeworks detector"):
        load_model(tmp_path / "model.pt")
    torch.save({"kind": "lodeworks_detector"}, tmp_path / "model.pt")
    with pytest.raises(BadModelError, match="incomplete"):
        load_model(tmp_path / "model.pt")


def test_the_weights_are_found_among_the_files(tmp_path):
    assert find_weights([tmp_path / "model.onnx", tmp_path / "model.pt"]).name == "model.pt"
    with pytest.raises(BadModelError, match=r"only model\.onnx"):
        find_weights([tmp_path / "model.onnx"])
