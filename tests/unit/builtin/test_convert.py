import json
from dataclasses import replace

import pytest
from builtin_world import BuiltinWorld
from lodeworks_builtin.convert import plan_variants, run
from lodeworks_builtin.convert_workbench import choose_probe
from lodeworks_executor import BadSettingError, ExecutorError
from lodeworks_executor.errors import BadDatasetError, BadModelError
from lodeworks_formats.boxes import Box
from lodeworks_formats.package import unpack
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import read_pictures, write_pictures
from lodeworks_formats.task_inputs import ConvertOptions
from lodeworks_runtime import load_package, probe, tensorrt_backend
from made_network import save_network


@pytest.fixture
def world(tmp_path):
    made = BuiltinWorld(tmp_path)
    save_network(made.put("model/best/best.onnx", b""))
    made.view("calibration", range(100, 112), annotated=False)
    made.view("guard", range(8))
    return made


def convert(world, **options):
    defaults = {"targets": ("onnx",), "precisions": ("fp32", "int8"), "max_drop": 0.05, "name": "squares"}
    world.put("options", ConvertOptions(**{**defaults, **options}).to_bytes())
    run(world.task())
    return json.loads(world.output("report").read_bytes())


def test_a_stage_becomes_measured_packages(world, tmp_path):
    report = convert(world, provenance='{"licence": "MIT"}')
    assert report["accepted"]
    assert report["refused"] == []
    assert [one["name"] for one in report["variants"]] == ["onnx-fp32", "onnx-int8"]
    fp32, int8 = report["variants"]
    assert abs(fp32["drop"]) < 1e-6
    assert fp32["speed_up"] == 1.0
    assert int8["speed_up"] == fp32["latency"]["p50_ms"] / int8["latency"]["p50_ms"]
    assert int8["drop"] <= 0.05
    for one in report["variants"]:
        assert one["latency"]["p50_ms"] > 0
        assert one["peak_memory_bytes"] > 10 << 20
        manifest = unpack(world.output(one["role"]), tmp_path / one["name"])
        assert manifest.package_id == one["package_id"]
        assert manifest.provenance["licence"] == "MIT"
        assert probe(tmp_path / one["name"]).ok
    assert "calibration" not in load_package(tmp_path / "onnx-fp32").manifest.provenance
    assert load_package(tmp_path / "onnx-int8").manifest.provenance["calibration"]["pictures"] == 12
    assert len(report["calibration"]["digests"]) == 12
    page = world.output("report_html").read_text()
    assert "onnx-int8" in page
    assert "http" not in page
    assert "| onnx-fp32 |" in world.output("card").read_text()


def test_the_same_inputs_give_the_same_packages(world, tmp_path):
    first = convert(world)
    packed = world.output("package-onnx-int8").read_bytes()
    second = convert(world)
    assert [one["package_id"] for one in first["variants"]] == [one["package_id"] for one in second["variants"]]
    assert packed == world.output("package-onnx-int8").read_bytes()


def test_leaving_the_worst_layers_float_saves_a_stage(world):
    save_network(world.given / "lode" / "model" / "best" / "best.onnx", trap="first")
    report = convert(world, precisions=("int8",))
    assert report["accepted"]
    (int8,) = report["variants"]
    assert int8["speed_up"] == report["reference"]["latency"]["p50_ms"] / int8["latency"]["p50_ms"]
    assert [one["settings"] for one in int8["tried"]] == ["min-max", "percentile", int8["settings"]]
    assert "/c2/Conv" in int8["tried"][2]["keep_float"]


def test_the_guard_refuses_and_tells_what_was_tried(world):
    save_network(world.given / "lode" / "model" / "best" / "best.onnx", trap="all")
    report = convert(world)
    assert not report["accepted"]
    assert report["refused"] == ["onnx-int8"]
    refused = report["variants"][1]
    assert refused["package_id"] is None
    assert not world.output("package-onnx-int8").exists()
    assert world.output("package-onnx-fp32").exists()
    assert [one["settings"].split(",")[0] for one in refused["tried"]][:2] == ["min-max", "percentile"]
    assert len(refused["tried"]) == 4
    assert len(refused["tried"][3]["keep_float"]) >= 2
    assert "not found any more" in refused["reason"]
    assert refused["table"].count("\n") == 4
    assert "Refused by the guard: onnx-int8." in world.output("report_html").read_text()


def test_a_guard_without_annotations_is_refused(world):
    world.view("guard", range(8), annotated=False)
    with pytest.raises(BadDatasetError, match="is annotated"):
        convert(world)


def test_a_guard_of_other_classes_is_refused(world):
    path = world.given / "lode" / "guard"
    pictures = [replace(picture, boxes=(Box("cat", 1, 1, 5, 5),)) for picture in read_pictures(path)]
    write_pictures(path, pictures, kind="view")
    with pytest.raises(BadDatasetError, match="red, green, blue"):
        convert(world)


def test_int8_without_calibration_is_refused(world):
    (world.given / "lode" / "calibration").unlink()
    with pytest.raises(BadDatasetError, match="calibrate"):
        convert(world)


def test_a_stage_without_onnx_is_refused(world):
    folder = world.given / "lode" / "model" / "best"
    (folder / "best.onnx").rename(folder / "best.pt")
    with pytest.raises(BadModelError, match="export the stage to ONNX"):
        convert(world)


@pytest.mark.skipif(tensorrt_backend.gpu_count() > 0, reason="this machine has a GPU")
def test_tensorrt_says_why_not_before_any_work(world):
    with pytest.raises(ExecutorError, match="no NVIDIA GPU answers"):
        convert(world, targets=("onnx", "tensorrt"))
    assert not world.output("report").exists()


def test_variants_are_targets_by_precisions_where_known():
    assert plan_variants(["onnx", "openvino"], ["fp32", "fp16"]) == [
        ("onnx", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "fp16"),
    ]


@pytest.mark.parametrize(
    ("targets", "precisions", "named"),
    [
        (["abacus"], ["fp32"], "onnx, openvino, tensorrt"),
        (["onnx"], ["fp16"], "fp32, int8"),
        (["onnx", "openvino"], ["fp7"], "fp16, fp32, int8"),
        (["onnx", "openvino"], ["fp16"], "onnx"),
        ([], ["fp32"], "targets|precisions"),
    ],
)
def test_unknown_variants_are_refused_with_what_there_is(targets, precisions, named):
    with pytest.raises(BadSettingError, match=named):
        plan_variants(targets, precisions)


@pytest.mark.parametrize("options", [{"max_drop": 2.0}, {"provenance": "[]"}, {"calibration_pictures": 0}])
def test_wrong_options_are_refused(world, options):
    with pytest.raises(BadSettingError):
        convert(world, **options)


def test_the_probe_is_the_picture_with_the_clearest_answer():
    def picture(mark):
        return Picture(digest=mark * 64, extension="png", width=9, height=9)

    def boxes(*scores):
        return [Box("a", 0, 0, 1, 1, score=score) for score in scores]

    predictions = {"a" * 64: boxes(), "b" * 64: boxes(0.9, 0.26), "c" * 64: boxes(0.9, 0.05), "d" * 64: boxes(0.05)}
    assert choose_probe([picture(mark) for mark in "abcd"], predictions, threshold=0.25).digest == "c" * 64
