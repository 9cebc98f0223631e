import json
import subprocess
import sys
from dataclasses import replace

import pytest
from lodeworks_formats.boxes import Box
from lodeworks_formats.package import (
    Health,
    InputSpec,
    PackageFile,
    PackageManifest,
    Runtime,
    Thresholds,
    read_package,
    write_package,
)
from lodeworks_runtime import BackendMissingError, PackageError, backends, load_onnx, load_package, probe
from lodeworks_runtime.probe import Expectation, compare
from made_network import CLASSES, SIZE, encoded, made_picture, save_network


def make_package(folder, *, runtime="onnxruntime", boxes=None, max_latency_ms=None, **io):
    folder.mkdir()
    save_network(folder / "model.onnx")
    (folder / "probe.png").write_bytes(encoded(made_picture(1)[0]))
    algorithm = load_onnx(folder / "model.onnx")
    if boxes is None:
        boxes = algorithm.predict_bytes((folder / "probe.png").read_bytes(), score=0.25)
    (folder / "expected.json").write_bytes(Expectation(score=0.25, boxes=tuple(boxes)).to_bytes())
    files = {"model.onnx": "weights", "probe.png": "probe-input", "expected.json": "expected-output"}
    manifest = PackageManifest(
        target="onnx",
        precision="fp32",
        runtime=Runtime(runtime),
        io=InputSpec(name="images", height=SIZE[0], width=SIZE[1], **io),
        classes=CLASSES,
        thresholds=Thresholds(score=0.25, nms_iou=0.3, max_detections=300),
        health=Health("probe.png", "expected.json", max_latency_ms=max_latency_ms),
        files=tuple(PackageFile(path, "", 0, role) for path, role in files.items()),
    )
    write_package(folder, manifest)
    return folder


def test_a_package_answers_as_the_model_it_was_made_of(tmp_path):
    package = load_package(make_package(tmp_path / "p"))
    plain = load_onnx(tmp_path / "p" / "model.onnx")
    image, _ = made_picture(7)
    assert package.predict([image]) == plain.predict([image])
    assert package.classes == CLASSES
    assert package.manifest is not None


def test_the_probe_of_a_sound_package_passes(tmp_path):
    result = probe(make_package(tmp_path / "p"))
    assert result.ok, result.reason
    assert result.max_box_delta < 0.01
    assert result.max_score_delta < 0.001
    assert result.latency_ms > 0


def test_the_probe_fails_when_the_package_answers_otherwise(tmp_path):
    expected = [Box(class_name="blue", x=1, y=1, w=5, h=5, score=0.9)]
    result = probe(make_package(tmp_path / "p", boxes=expected))
    assert not result.ok
    assert "blue" in (result.reason or "")


def test_the_probe_fails_when_the_package_is_too_slow(tmp_path):
    result = probe(make_package(tmp_path / "p", max_latency_ms=0.0))
    assert not result.ok
    assert "ms" in (result.reason or "")


@pytest.mark.parametrize("name", ["model.onnx", "probe.png", "expected.json"])
def test_a_changed_file_is_noticed(tmp_path, name):
    folder = make_package(tmp_path / "p")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(PackageError):
        load_package(folder)
    assert not probe(folder).ok


def test_a_folder_without_manifest_is_refused(tmp_path):
    assert "manifest" in (probe(tmp_path).reason or "")


@pytest.mark.parametrize("role", ["probe-input", "expected-output"])
def test_a_package_without_golden_probe_is_not_proven(tmp_path, role):
    folder = make_package(tmp_path / "p")
    manifest = read_package(folder)
    write_package(folder, replace(manifest, files=tuple(file for file in manifest.files if file.role != role)))
    result = probe(folder)
    assert not result.ok
    assert role in (result.reason or "")


def test_an_unknown_runtime_is_named(tmp_path):
    with pytest.raises(BackendMissingError, match="abacus"):
        load_package(make_package(tmp_path / "p", runtime="abacus"))


def test_an_input_of_another_kind_is_refused(tmp_path):
    with pytest.raises(PackageError, match="NHWC"):
        load_package(make_package(tmp_path / "p", layout="NHWC"))


def test_every_runtime_says_whether_it_can_run():
    answers = backends()
    assert answers["onnxruntime"] is None
    assert "openvino" in answers
    assert "tensorrt" in answers


EXPECTED = Expectation(
    score=0.5,
    boxes=(
        Box(class_name="a", x=0, y=0, w=100, h=100, score=0.9),
        Box(class_name="a", x=200, y=0, w=50, h=50, score=0.505),
    ),
)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([("a", 0, 0.9), ("b", 200, 0.505)], None),
        ([("a", 0, 0.9)], None),
        ([("a", 0, 0.904)], None),
        ([("a", 0, 0.9), ("b", 300, 0.509)], None),
        ([("a", 0, 0.88)], "score"),
        ([("a", 30, 0.9)], "not found"),
        ([("b", 0, 0.9)], "not found"),
        ([], "not found"),
        ([("a", 0, 0.9), ("b", 300, 0.6)], "unexpected"),
        ([("a", 0, 0.9), ("a", 0, 0.8)], "unexpected"),
    ],
)
def test_comparison(found, reason):
    boxes = [Box(class_name=name, x=x, y=0, w=100, h=100, score=score) for name, x, score in found]
    result = compare(EXPECTED, boxes, min_iou=0.99, max_score_delta=0.01)
    assert (result.reason is None) == (reason is None), result
    assert reason is None or reason in result.reason


def test_an_expectation_survives_its_file():
    assert Expectation.from_bytes(EXPECTED.to_bytes()) == EXPECTED
    with pytest.raises(PackageError):
        Expectation.from_bytes(b"[]")


def test_a_device_stays_small():
    code = "import sys, json, lodeworks_runtime; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    heavy = {"torch", "docker", "sqlalchemy", "pyarrow", "duckdb", "onnxruntime", "openvino", "onnx"}
    assert not heavy & set(loaded)
