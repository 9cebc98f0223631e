"""The executor protocol's files: every form that images ever wrote, and what is refused."""

import pytest
import yaml
from lodeworks_formats import protocol
from lodeworks_formats import ymir_results as results
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError


def test_the_environment_is_the_documents_word_for_word():
    raw = yaml.safe_load(protocol.render_environment(protocol.Environment.at("t1", operations={"training"})))
    assert raw["protocol_version"] == "1.1.0"
    assert (raw["run_training"], raw["run_mining"], raw["run_infer"]) == (True, False, False)
    assert raw["manifest_file"] == "/img-man/manifest.yaml"
    assert raw["input"]["training_index_file"] == "/in/train-index.tsv"
    assert raw["input"]["candidate_index_file"] == ""
    assert raw["output"]["training_result_file"] == "/out/models/result.yaml"
    assert raw["output"]["executor_log_file"] == "/out/ymir-executor-out.log"


def test_the_environment_comes_back_with_mapped_folders():
    made = protocol.Environment.at("t", operations={"mining", "infer"}, input_root="/w/in", output_root="/w/out")
    assert made.input.candidate_index_file == "/w/in/candidate-index.tsv"
    assert made.input.training_index_file == ""
    assert protocol.parse_environment(protocol.render_environment(made)) == made
    for text in ("", "- a", "input: 3", "a: ["):
        with pytest.raises(FormatError):
            protocol.parse_environment(text)


def test_settings_win_over_the_template_and_the_platform_over_both():
    config = protocol.compose_config({"a": 1, "b": 2, "shm_size": "1g"}, {"b": 3}, {"task_id": "t"})
    assert config == {"a": 1, "b": 3, "shm_size": "1g", "task_id": "t"}
    assert protocol.parse_config(protocol.render_config(config)) == config
    with pytest.raises(FormatError, match="'gpu_id' is made by the platform; reserved are task_id"):
        protocol.compose_config({}, {"gpu_id": "0"}, {})


def test_index_lines():
    rows = [("/in/assets/3f/a.jpg", "/in/annotations/3f/a.xml"), ("/in/assets/3f/b c.jpg", None)]
    assert protocol.parse_index(protocol.render_index(rows)) == rows
    with pytest.raises(FormatError) as caught:
        protocol.parse_index("a\tb\na\tb\tc\n")
    assert caught.value.line == 2
    assert protocol.asset_path("00ff3f.jpg") == "3f/00ff3f.jpg"


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        (None, "voc"),
        ("", "voc"),
        ("det-ARK:raw", "ark"),
        ("voc", "voc"),
        ("seg-coco:raw", "coco"),
        ("none:raw", "none"),
    ],
)
def test_export_formats(text, annotation):
    assert protocol.ExportFormat.parse(text).annotation == annotation


@pytest.mark.parametrize("text", ["lmdb:raw", "voc:lmdb"])
def test_unknown_export_formats_are_refused(text):
    with pytest.raises(FormatError, match="unknown"):
        protocol.ExportFormat.parse(text)


RESULT = """
best_stage_name: stage-10
model_stages:
  stage-10: {stage_name: stage-10, files: [best.onnx, best.pt], timestamp: 3, mAP: 0.98, mAR: 0.3, TP: 50, fp: 30}
  last: {stage_name: last, files: [last.pt], timestamp: 1663934683, maskAP: 0.5}
evaluate_config: {iou_thr: 0.5, conf_thr: 0.005}
attachments: {section: [file.txt]}
"""


def test_a_training_result_of_1_1_0():
    read = results.parse_training_result(RESULT)
    assert read.best_stage_name == "stage_10"
    first, last = read.stages
    assert (first.name, first.given_name, first.files) == ("stage_10", "stage-10", ("best.onnx", "best.pt"))
    assert first.scores == {"mAP": 0.98, "mAR": 0.3, "tp": 50, "fp": 30}
    assert last.scores == {"maskAP": 0.5}
    assert read.attachments == {"section": ("file.txt",)}
    again = results.parse_training_result(results.render_training_result(read))
    assert (again.best_stage_name, again.evaluate_config) == (read.best_stage_name, read.evaluate_config)
    assert [stage.scores for stage in again.stages] == [stage.scores for stage in read.stages]


def test_a_legacy_training_result_is_one_stage():
    read = results.parse_training_result("{map: 1.0, model: [a.pt, b.onnx]}")
    assert read.best_stage_name == "default_best_stage"
    assert read.stages[0].files == ("a.pt", "b.onnx")
    assert read.stages[0].scores == {"mAP": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "model_stages: {}",
        "{best_stage_name: x, model_stages: {a: {files: [b]}}}",
        "{best_stage_name: a, model_stages: {a: {files: ['../b']}}}",
        "{best_stage_name: a, model_stages: {a: {files: [/etc/passwd]}}}",
        "{best_stage_name: a, model_stages: {a: {files: []}}}",
        "{best_stage_name: a, model_stages: {a: 3}}",
        "{map: high, model: [a]}",
    ],
)
def test_a_bad_training_result_is_refused(text):
    with pytest.raises(FormatError) as caught:
        results.parse_training_result(text)
    assert caught.value.reason == "BAD_RESULT"


def test_mining_results_are_sorted_here():
    read = results.parse_mining_result("/in/b\t0.5\n/in/c\t0.75\n\n/in/a\t0.5\r\n")
    assert read == [("/in/c", 0.75), ("/in/a", 0.5), ("/in/b", 0.5)]
    assert results.parse_mining_result(results.render_mining_result(read)) == read
    for text in ("a b\n", "a\tnan\n", "a\t1\na\t2\n"):
        with pytest.raises(FormatError):
            results.parse_mining_result(text)


@pytest.mark.parametrize("key", ["boxes", "annotations"])
def test_both_inference_forms(key):
    text = f"""{{"detection": {{"a.jpg": {{"{key}": [
        {{"box": {{"x": 1, "y": 2.5, "w": 3, "h": 4, "rotate_angle": 0.5}}, "class_name": "cat", "score": 0.5}}]}},
        "/in/assets/b.jpg": {{"{key}": []}}}}}}"""
    read = results.parse_inference_result(text)
    assert read == {"a.jpg": (Box("cat", 1, 2.5, 3, 4, score=0.5, rotation=0.5),), "b.jpg": ()}
    assert results.parse_inference_result(results.render_inference_result(read)) == read


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"detection": {"a": {}}}',
        '{"detection": {"a": {"boxes": [{"box": {"x": 1}}]}}}',
        '{"detection": {"a": {"boxes": [{"box": {"x": NaN, "y": 1, "w": 1, "h": 1}, "score": 1, "class_name": "a"}]}}}',
    ],
)
def test_a_bad_inference_result_is_refused(text):
    with pytest.raises(FormatError):
        results.parse_inference_result(text)


def test_monitor_lines():
    assert results.parse_monitor("t\t1.5\t0.25\t2\n") == results.Monitor("t", 1.5, 0.25, 2)
    failed = results.parse_monitor("t\t1.5\t0.25\t4\t300103\tno memory\n")
    assert failed == results.Monitor("t", 1.5, 0.25, 4, 300103, "no memory")
    assert results.parse_monitor(results.render_monitor(failed)) == failed
    assert results.parse_monitor("t\t1\t2\t2\nfree text\n").fraction == 1.0
    assert results.parse_monitor("t\t1\t0.5\t2\nfree text\n").message == "free text"
    for short in ("", "t", "t\t1.5", "t\t1.5\t0.2", "t\tx\t0.2\t2"):
        assert results.parse_monitor(short) is None
