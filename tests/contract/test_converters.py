import pytest
from lodeworks_converters import converters
from lodeworks_converters.conformance import (
    ConformanceError,
    check_answers,
    check_broken_model,
    check_conversion,
    check_declaration,
    check_refusal,
)
from lodeworks_runtime import load_onnx
from made_network import made_picture, save_network

VARIANTS = [(target, precision) for target, made in sorted(converters().items()) for precision in made.precisions]
# How far scores may be off on the made network; its logits are steep.
TOLERANCES = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.25}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "made.onnx")


@pytest.fixture(scope="module")
def reference(model):
    return load_onnx(model)


def inputs_for(reference):
    return [reference.prepare(made_picture(seed, count=4)[0])[0] for seed in range(6)]


@pytest.fixture
def folders(tmp_path):
    made = tmp_path / "first", tmp_path / "second"
    for folder in made:
        folder.mkdir()
    return made


@pytest.mark.parametrize("target", sorted(converters()))
def test_declares_itself_and_refuses(target, model, tmp_path):
    check_declaration(converters()[target])
    check_refusal(converters()[target], model=model, out=tmp_path)


@pytest.mark.parametrize("target", sorted(converters()))
def test_refuses_what_is_no_network(target, tmp_path, folders):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    converter = converters()[target]
    check_broken_model(converter, broken=broken, precision=converter.precisions[0], out=folders[0])


@pytest.mark.parametrize(("target", "precision"), VARIANTS)
def test_converts(target, precision, model, reference, folders):
    converter = converters()[target]
    if target != "tensorrt" and (why := converter.available(precision)):
        pytest.skip(why)
    inputs = inputs_for(reference)
    artifact = check_conversion(converter, precision=precision, model=model, calibration=inputs, folders=folders)
    if converter.available(precision) is None:
        check_answers(
            artifact,
            folder=folders[0],
            reference=reference,
            recipe=reference.recipe,
            inputs=inputs,
            tolerance=TOLERANCES[precision],
        )


class Careless:
    """Breaks one promise: it litters."""

    target = "careless"
    precisions = ("fp32",)

    def available(self, precision):
        return None

    def convert(self, model, *, attempt, calibration, out):
        (out / "litter").write_bytes(b"")
        return converters()["onnx"].convert(model, attempt=attempt, calibration=calibration, out=out)


def test_the_suite_notices_a_careless_converter(model, folders):
    with pytest.raises(ConformanceError, match="litter"):
        check_conversion(Careless(), precision="fp32", model=model, calibration=[], folders=folders)
    with pytest.raises(ConformanceError):
        check_refusal(Careless(), model=model, out=folders[0])


def test_a_missing_twin_is_noticed(model, folders, monkeypatch):
    monkeypatch.setattr("lodeworks_converters.conformance.backends", dict)
    with pytest.raises(ConformanceError, match="twin"):
        check_conversion(converters()["onnx"], precision="fp32", model=model, calibration=[], folders=folders)
