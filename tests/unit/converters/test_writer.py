import json

import pytest
from lodeworks_converters import Attempt, ConversionError, PackagePlan, find_converter, write_variant
from lodeworks_formats.package import pack, unpack
from lodeworks_runtime import load_onnx, load_package, probe
from lodeworks_runtime.probe import Expectation, compare
from made_network import CLASSES, encoded, made_picture, model_info, save_network

PROBE = encoded(made_picture(1, count=4)[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "made.onnx")


def make(model, folder, *, target="onnx", precision="fp32", picture=PROBE):
    recipe = load_onnx(model).recipe
    work = folder / "work"
    work.mkdir(parents=True)
    artifact = find_converter(target, precision=precision).convert(
        model, attempt=Attempt(precision), calibration=[], out=work
    )
    plan = PackagePlan(
        target=target,
        precision=precision,
        recipe=recipe,
        probe_picture=picture,
        probe_extension="png",
        provenance={"stage": "best", "licence": "MIT"},
    )
    return write_variant(artifact, source=work, plan=plan, out=folder / "package")


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_package_proves_itself_and_answers_as_the_model(model, tmp_path, target):
    manifest = make(model, tmp_path, target=target)
    result = probe(tmp_path / "package")
    assert result.ok, result.reason
    package, plain = load_package(tmp_path / "package"), load_onnx(model)
    assert package.recipe == plain.recipe
    for wanted, got in zip(plain.predict_bytes(PROBE), package.predict_bytes(PROBE), strict=True):
        assert (wanted.class_name, wanted.x, wanted.w) == pytest.approx((got.class_name, got.x, got.w), abs=1e-3)
        assert wanted.score == pytest.approx(got.score, abs=1e-4)
    assert manifest.provenance["stage"] == "best"
    assert "onnx" in manifest.provenance["tools"]
    assert (tmp_path / "package" / "labels.txt").read_text() == "red\ngreen\nblue\n"
    assert manifest.classes == CLASSES
    roles = {file.role for file in manifest.files}
    assert roles == {"weights", "probe-input", "expected-output", "labels"}


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_same_stage_gives_the_same_package(model, tmp_path, target):
    first = make(model, tmp_path / "a", target=target)
    second = make(model, tmp_path / "b", target=target)
    assert first.package_id == second.package_id
    for name in "a", "b":
        pack(tmp_path / name / "package", tmp_path / f"{name}.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_package_survives_its_journey(model, tmp_path):
    manifest = make(model, tmp_path)
    pack(tmp_path / "package", tmp_path / "p.tar")
    assert unpack(tmp_path / "p.tar", tmp_path / "elsewhere") == manifest
    assert probe(tmp_path / "elsewhere").ok


def test_the_expected_boxes_lie_beside_the_probe(model, tmp_path):
    make(model, tmp_path)
    expected = json.loads((tmp_path / "package" / "expected.json").read_bytes())
    assert expected["score"] == 0.25
    assert {row["class_name"] for row in expected["boxes"]} == {name for name, *_ in made_picture(1, count=4)[1]}


def test_a_probe_that_is_no_picture_is_refused(model, tmp_path):
    with pytest.raises(ConversionError, match="probe"):
        make(model, tmp_path, picture=b"nothing")


def test_a_network_whose_scores_stay_below_its_threshold_is_proved_all_the_same(tmp_path):
    shy = save_network(tmp_path / "shy.onnx", info=model_info(score_threshold=0.9999))
    manifest = make(shy, tmp_path)
    expected = Expectation.from_bytes((tmp_path / "package/expected.json").read_bytes())
    health = manifest.health
    silent = compare(expected, [], min_iou=health.min_iou, max_score_delta=health.max_score_delta)
    assert silent.reason is not None, "a network that finds nothing must not pass"
