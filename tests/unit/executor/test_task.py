import json

import cv2
import numpy as np
import pytest
import yaml
from lodeworks_executor import BadDatasetError, BadSettingError, ErrorCode, ExecutorError, ObjectType, Task
from lodeworks_formats.boxes import Box
from lodeworks_formats.protocol import Environment, render_config, render_environment
from lodeworks_formats.ymir_results import (
    parse_inference_result,
    parse_mining_result,
    parse_monitor,
    parse_training_result,
)

NOW = 1_700_000_000.5


@pytest.fixture
def run(tmp_path):
    """Lays out a run and loads it."""

    def make(operations=frozenset({"training"}), **config):
        environment = Environment.at(
            "t1", operations=operations, input_root=str(tmp_path / "in"), output_root=str(tmp_path / "out")
        )
        (tmp_path / "in").mkdir(exist_ok=True)
        env_file = tmp_path / "in/env.yaml"
        env_file.write_text(render_environment(environment))
        settings = {"task_id": "t1", "class_names": ["cat", "Dog"], "gpu_id": "", **config}
        (tmp_path / "in/config.yaml").write_text(render_config(settings))
        return Task.load(env_file, clock=lambda: NOW)

    return make


def test_the_run_is_found_by_its_environment_variable(run, tmp_path, monkeypatch):
    run()
    monkeypatch.setenv("LODE_ENV_FILE", str(tmp_path / "in/env.yaml"))
    task = Task.load()
    assert (task.id, task.run_training, task.run_mining, task.run_infer) == ("t1", True, False, False)
    assert task.class_names == ["cat", "Dog"]
    assert task.gpu_ids == []


def test_a_missing_environment_is_told(tmp_path):
    with pytest.raises(ExecutorError, match=r"cannot read .*env\.yaml") as caught:
        Task.load(tmp_path / "env.yaml")
    assert caught.value.code == ErrorCode.CONFIG


@pytest.mark.parametrize(("names", "words"), [([], "is empty"), (["cat", "Cat"], "twice")])
def test_class_names_must_be_there_once(run, names, words):
    with pytest.raises(BadSettingError, match=words):
        _ = run(class_names=names).class_names


def _write_voc(path):
    path.write_text(
        "<annotation><size><width>64</width><height>48</height><depth>3</depth></size><object><name>cat</name>"
        "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>23</ymax></bndbox></object></annotation>"
    )


def test_samples_come_in_the_order_of_the_index_with_their_boxes(run, tmp_path):
    task = run()
    _write_voc(tmp_path / "b.xml")
    (tmp_path / "in/train-index.tsv").write_text(f"/in/assets/b.jpg\t{tmp_path}/b.xml\n\n/in/assets/a.jpg\n")
    first, second = task.train()
    assert (str(first.asset_path), second.annotation_path) == ("/in/assets/b.jpg", None)
    assert first.boxes == (Box("cat", 3, 4, 10, 20),)
    assert second.boxes == ()


@pytest.mark.parametrize(
    ("export_format", "text"),
    [
        ("ark:raw", "0, 3, 4, 12, 23, -1.0, 0.0\n"),
        (
            "coco:raw",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "b.jpg", "width": 64, "height": 48}],
                    "categories": [{"id": 0, "name": "cat"}],
                    "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [3, 4, 10, 20]}],
                }
            ),
        ),
    ],
)
def test_other_export_formats_say_the_same(run, tmp_path, export_format, text):
    task = run(export_format=export_format)
    (tmp_path / "notes").write_text(text)
    (tmp_path / "in/val-index.tsv").write_text(f"/in/assets/b.jpg\t{tmp_path}/notes\n")
    (sample,) = task.val()
    assert sample.boxes == (Box("cat", 3, 4, 10, 20),)


def test_a_broken_annotation_is_named(run, tmp_path):
    task = run()
    (tmp_path / "b.xml").write_text("<annotation")
    (tmp_path / "in/train-index.tsv").write_text(f"/in/assets/b.jpg\t{tmp_path}/b.xml\n")
    with pytest.raises(BadDatasetError, match=r"b\.xml"):
        _ = next(task.train()).boxes


def test_an_index_that_does_not_apply_has_no_samples(run):
    assert list(run().candidates()) == []


def test_progress_never_goes_back(run, tmp_path):
    task = run()
    task.progress(0.5, "half")
    task.progress(0.25)
    monitor = parse_monitor((tmp_path / "out/monitor.txt").read_text())
    assert (monitor.task_id, monitor.fraction, monitor.state, monitor.timestamp) == ("t1", 0.5, 2, NOW)


def test_a_failure_carries_code_and_message(run, tmp_path):
    run().fail(ErrorCode.OUT_OF_MEMORY, "the GPU's memory\nis full")
    monitor = parse_monitor((tmp_path / "out/monitor.txt").read_text())
    assert (monitor.state, monitor.code, monitor.message) == (4, 300103, "the GPU's memory is full")


def test_metrics_are_lines_of_json_and_nan_is_null(run, tmp_path):
    task = run()
    task.metric(1, "loss", 0.5)
    task.metric(2, "loss", float("nan"))
    lines = (tmp_path / "out/lode/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "name": "loss", "value": 0.5, "time": NOW},
        {"step": 2, "name": "loss", "value": None, "time": NOW},
    ]


def _stage(task, name, **measures):
    (task.stage_folder(name) / "model.onnx").write_bytes(b"x")
    task.stage(name, ["model.onnx"], **measures)


def test_the_result_is_whole_after_each_stage(run, tmp_path):
    task = run()
    result = tmp_path / "out/models/result.yaml"
    _stage(task, "epoch_1", map_score=0.4)
    assert parse_training_result(result.read_text()).best_stage_name == "epoch_1"
    _stage(task, "epoch_2", map_score=0.3, mAR=0.2)
    task.describe_evaluation(iou=0.5, confidence=0.005)
    task.finish_training()
    found = parse_training_result(result.read_text())
    assert found.best_stage_name == "epoch_1"
    assert found.stages[1].scores == {"mAP": 0.3, "mAR": 0.2}
    assert found.stages[1].timestamp == int(NOW)
    task.finish_training(best="epoch_2")
    found = parse_training_result(result.read_text())
    assert found.best_stage_name == "epoch_2"
    assert parse_monitor((tmp_path / "out/monitor.txt").read_text()).fraction == 1.0


def test_the_best_stage_cannot_be_dropped(run, tmp_path):
    task = run()
    _stage(task, "epoch_1", map_score=0.4, best="epoch_1")
    _stage(task, "epoch_2", map_score=0.5, best="epoch_2")
    task.drop_stage("epoch_1")
    assert task.stage_names == ("epoch_2",)
    with pytest.raises(ExecutorError, match="stays"):
        task.drop_stage("epoch_2")


@pytest.mark.parametrize("name", ["../up", "1st", "a b", ""])
def test_a_stage_needs_a_safe_name(run, name):
    with pytest.raises(ExecutorError, match="cannot name a stage"):
        run().stage_folder(name)


def test_a_stage_needs_its_files(run):
    task = run()
    with pytest.raises(ExecutorError, match="no file"):
        task.stage("epoch_1", ["model.pt"], map_score=0.1)


def test_attachments_stand_in_the_result(run, tmp_path):
    task = run()
    _stage(task, "epoch_1", map_score=0.4)
    (tmp_path / "curve.json").write_text("{}")
    copy = task.attachment("curves", tmp_path / "curve.json")
    assert copy == tmp_path / "out/models/attachments/curves/curve.json"
    document = yaml.safe_load((tmp_path / "out/models/result.yaml").read_text())
    assert document["attachments"] == {"curves": ["curve.json"]}


def test_mining_is_sorted_with_ties_by_path(run, tmp_path):
    task = run(frozenset({"mining"}))
    task.write_mining({tmp_path / "b": 0.5, tmp_path / "c": 0.75, tmp_path / "a": 0.5})
    text = (tmp_path / "out/result.tsv").read_text()
    assert [line.split("\t")[0][-1] for line in text.splitlines()] == ["c", "a", "b"]
    assert parse_mining_result(text)[0] == (str(tmp_path / "c"), 0.75)


def test_inference_names_boxes_by_picture(run, tmp_path):
    task = run(frozenset({"infer"}))
    box = Box("cat", 1.5, 2, 3, 4, score=0.9)
    task.write_inference({tmp_path / "a.jpg": [box], tmp_path / "b.jpg": []})
    found = parse_inference_result((tmp_path / "out/infer-result.json").read_bytes())
    assert found == {"a.jpg": (box,), "b.jpg": ()}


def test_roles_of_built_in_executors(run, tmp_path):
    task = run()
    with pytest.raises(ExecutorError, match="'view'"):
        task.role("view")
    (tmp_path / "in/lode").mkdir()
    (tmp_path / "in/lode/view").write_bytes(b"v")
    (tmp_path / "in/lode/options").write_text('{"top_k": 3}')
    assert task.role("view").read_bytes() == b"v"
    assert task.has_role("view")
    assert not task.has_role("model")
    assert task.options() == {"top_k": 3}
    task.output("blobs/abc").write_bytes(b"b")
    assert (tmp_path / "out/lode/blobs/abc").read_bytes() == b"b"


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_options_must_be_an_object(run, tmp_path, text):
    task = run()
    (tmp_path / "in/lode").mkdir()
    (tmp_path / "in/lode/options").write_text(text)
    with pytest.raises(ExecutorError, match="JSON") as caught:
        task.options()
    assert caught.value.code == ErrorCode.CONFIG


def test_models_depend_on_the_operation(run):
    assert run(pretrained_model_params=["/in/models/s/m.pt"], model_params_path="/x").models()[0].name == "m.pt"
    task = run(frozenset({"infer"}), model_params_path=["/in/models/s/m.onnx"])
    assert [path.name for path in task.models()] == ["m.onnx"]
    assert run().models() == []


@pytest.mark.parametrize("object_type", [ObjectType.INSTANCE, ObjectType.DETECTION])
def test_masks_are_written_with_the_sizes_of_their_pictures(run, tmp_path, object_type):
    task = run(operations=frozenset({"infer"}), object_type=int(object_type))
    assert task.object_type is object_type
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    outline = '{"size":[48,64],"counts":[48,10,3014]}'
    box = Box("Dog", 1.0, 0.0, 1.0, 10.0, score=0.5, shape=outline)
    task.write_inference({picture: [box]})
    told = json.loads((tmp_path / "out/infer-result.json").read_text())
    assert [(one["file_name"], one["width"], one["height"]) for one in told["images"]] == [("a.png", 64, 48)]
    assert parse_inference_result(json.dumps(told)) == {"a.png": (box,)}


def test_an_unknown_object_type_is_refused(run):
    with pytest.raises(BadSettingError, match="must be one of 2, 3, 4"):
        _ = run(object_type=5).object_type
    assert run().object_type is ObjectType.DETECTION


def test_the_best_stage_of_a_segmentation_is_chosen_by_its_own_measure(run, tmp_path):
    task = run(object_type=3)
    for name, score in (("one", 0.75), ("two", 0.5)):
        (task.stage_folder(name) / "model.onnx").write_bytes(b"m")
        task.stage(name, ["model.onnx"], mIoU=score)
    task.finish_training()
    result = parse_training_result((tmp_path / "out/models/result.yaml").read_text())
    assert (result.best_stage_name, dict(result.stages[0].scores)) == ("one", {"mIoU": 0.75})
    with pytest.raises(ExecutorError, match="give one of mAP, mIoU, maskAP"):
        task.stage("two", ["model.onnx"], loss=0.1)


def test_the_size_of_what_is_no_picture_is_not_told(run, tmp_path):
    task = run(operations=frozenset({"infer"}))
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "in/candidate-index.tsv").write_text(f"{tmp_path / 'a.png'}\n{tmp_path / 'b.png'}\n")
    for sample in task.candidates():
        with pytest.raises(BadDatasetError) as caught:
            _ = sample.size_px
        assert caught.value.code == ErrorCode.PICTURE_FORMAT
