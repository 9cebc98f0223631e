"""Real quantization end to end: a stage becomes four packages that agree with each other and with a device."""

import json
import subprocess
import sys

import pytest
from builtin_world import BuiltinWorld
from lodeworks_builtin.convert_measure import side_by_side
from lodeworks_formats.package import unpack
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import ConvertOptions, InferOptions
from lodeworks_runtime import decode_picture, load_package, probe
from made_network import save_network

VARIANTS = ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = BuiltinWorld(tmp_path_factory.mktemp("convert"))
    save_network(made.put("model/best/best.onnx", b""))
    made.view("calibration", range(100, 124), annotated=False)
    made.view("guard", range(12))
    options = ConvertOptions(targets=("onnx", "openvino"), precisions=("fp32", "int8"), max_drop=0.05, name="squares")
    made.put("options", options.to_bytes())
    program(made, "convert")
    return made


def program(world, name):
    command = [sys.executable, "-m", "lodeworks_builtin", name]
    environment = {"LODE_ENV_FILE": str(world.given / "env.yaml"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def packages(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for name in VARIANTS:
        unpack(world.output(f"package-{name}"), folder / name)
    return folder


def test_every_variant_passes_the_guard_and_its_probe(world, packages):
    report = json.loads(world.output("report").read_bytes())
    assert report["accepted"], [one["table"] for one in report["variants"]]
    assert [one["name"] for one in report["variants"]] == list(VARIANTS)
    for one in report["variants"]:
        assert one["drop"] <= 0.05
        result = probe(packages / one["name"])
        assert result.ok, (one["name"], result.reason)


def test_float_packages_agree_to_the_last_digits(packages, world):
    onnx, openvino = (load_package(packages / f"{target}-fp32") for target in ("onnx", "openvino"))
    for picture in read_pictures(world.given / "lode" / "guard"):
        data = (world.given / "assets" / asset_path(picture.upright_name)).read_bytes()
        one, other = onnx.predict_bytes(data), openvino.predict_bytes(data)
        assert [box.class_name for box in one] == [box.class_name for box in other]
        assert [box.score for box in one] == pytest.approx([box.score for box in other], abs=1e-4)


def test_the_ceiling_of_quantization_is_int8(packages):
    text = (packages / "openvino-int8" / "model.xml").read_text()
    assert 'element_type="i8"' in text or 'element_type="u8"' in text
    assert "FakeQuantize" in text


@pytest.mark.parametrize("name", VARIANTS)
def test_inference_of_a_package_equals_the_answer_of_a_device(world, packages, tmp_path, name):
    run = BuiltinWorld(tmp_path)
    pictures = run.view("candidate", range(12))
    run.put("model", world.output(f"package-{name}").read_bytes())
    run.put("options", InferOptions(score_threshold=0.01, threads=2).to_bytes())
    program(run, "infer")
    device = load_package(packages / name)
    for picture in read_pictures(run.output("predictions")):
        data = (run.given / "assets" / asset_path(picture.upright_name)).read_bytes()
        answer = device.predict_bytes(data, score=0.3)
        evaluated = [box for box in picture.predictions if box.score >= 0.3]
        assert [box.class_name for box in answer] == [box.class_name for box in evaluated]
        for one, other in zip(answer, evaluated, strict=True):
            assert (one.x, one.y, one.w, one.h) == pytest.approx((other.x, other.y, other.w, other.h), abs=1e-3)
            assert one.score == pytest.approx(other.score, abs=1e-6)
    assert len(pictures) == 12


def test_variants_are_timed_in_turns(packages, world):
    algorithms = {name: load_package(packages / name) for name in VARIANTS}
    picture = next(iter(read_pictures(world.given / "lode" / "guard")))
    image = decode_picture((world.given / "assets" / asset_path(picture.upright_name)).read_bytes())
    measured = side_by_side(algorithms, images=[image])
    assert set(measured) == set(VARIANTS)
    assert all(0 < one.p50_ms <= one.p95_ms for one in measured.values())
