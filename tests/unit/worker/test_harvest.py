import json
import tarfile

import pytest
from lodeworks_formats.segments import pictures_metadata, read_pictures, read_scores
from lodeworks_worker.errors import OutputError
from lodeworks_worker.grant import Grant, OutputSlot, RunSpec
from lodeworks_worker.harvest.harvest import complaint, harvest, read_monitor
from worker_world import DictionaryTransfer, made_picture, made_view

TRAINING = (
    OutputSlot("result", required=True),
    OutputSlot("stage/*", required=True),
    OutputSlot("attachment/*"),
    OutputSlot("tensorboard/*"),
    OutputSlot("checkpoint"),
)


def _grant(*slots, operations=("train",), executor="image:x@sha256:1"):
    return Grant("t1", 1, RunSpec(executor=executor, operations=operations, outputs=slots))


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out" / "models").mkdir(parents=True)
    return tmp_path / "out"


def _write(out, **files):
    for name, text in files.items():
        path = out / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


RESULT = """
best_stage_name: stage-2
model_stages:
  stage_1: {stage_name: stage_1, files: [a.pt], timestamp: 1663934682, mAP: 0.5}
  stage-2: {stage_name: stage-2, files: [b.pt, b.onnx], timestamp: 1663934683, mAP: 0.6, TP: 5}
attachments: {section: [notes.txt]}
"""


def _training(out):
    (out / "models" / "result.yaml").write_text(RESULT)
    for name in ("stage_1/a.pt", "stage-2/b.pt", "stage-2/b.onnx", "attachments/section/notes.txt"):
        path = out / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _roles(found):
    return {one.role: one.path for one in found}


def test_a_training_becomes_result_stages_and_attachments(tmp_path, out):
    _training(out)
    (out / "tensorboard" / "run").mkdir(parents=True)
    (out / "tensorboard" / "run" / "events.1").write_text("e")
    found = _roles(harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True))
    assert set(found) == {
        "result",
        "stage/stage_1/a.pt",
        "stage/stage_2/b.pt",
        "stage/stage_2/b.onnx",
        "attachment/section/notes.txt",
        "tensorboard/run/events.1",
    }
    told = json.loads(found["result"].read_bytes())
    assert told["best_stage_name"] == "stage_2"
    assert [stage["scores"] for stage in told["stages"]] == [{"mAP": 0.5}, {"mAP": 0.6, "tp": 5.0}]


def test_the_legacy_result_is_one_stage(tmp_path, out):
    (out / "models" / "result.yaml").write_text("{map: 0.7, model: [best.pt]}")
    (out / "models" / "best.pt").write_text("w")
    found = _roles(harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True))
    assert set(found) == {"result", "stage/default_best_stage/best.pt"}


def test_a_cancelled_training_keeps_its_whole_stages(tmp_path, out):
    _training(out)
    (out / "models" / "stage-2" / "b.onnx").unlink()
    found = _roles(harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=False))
    assert "stage/stage_1/a.pt" in found
    assert not any(role.startswith("stage/stage_2") for role in found)
    assert json.loads(found["result"].read_bytes())["best_stage_name"] == "stage_1"


@pytest.mark.parametrize("text", ["", "best_stage_name: x", "{", "model: [../../etc/passwd]"])
def test_a_broken_result_of_a_cancelled_training_is_nothing(tmp_path, out, text):
    (out / "models" / "result.yaml").write_text(text)
    assert harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=False) == []


def test_a_missing_stage_file_is_bad_output_with_its_place(tmp_path, out):
    _training(out)
    (out / "models" / "stage_1" / "a.pt").unlink()
    with pytest.raises(OutputError, match=r"stage_1.*a\.pt") as caught:
        harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True)
    assert caught.value.file == "models/result.yaml"


def test_a_training_without_a_result_is_bad_output(tmp_path, out):
    with pytest.raises(OutputError) as caught:
        harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True)
    assert caught.value.file == "models/result.yaml"


def test_only_a_complete_checkpoint_is_taken(tmp_path, out):
    _write(out, lode__checkpoint__weights="w")
    assert harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=False) == []
    _write(out, lode__checkpoint__DONE="{}")
    found = _roles(harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=False))
    with tarfile.open(found["checkpoint"]) as tar:
        assert tar.getnames() == ["DONE", "weights"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, out):
    secret = tmp_path / "secret"
    secret.write_text("key")
    (out / "models" / "result.yaml").write_text("{map: 0.7, model: [best.pt]}")
    (out / "models" / "best.pt").symlink_to(secret)
    with pytest.raises(OutputError):
        harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True)
    (out / "lode").mkdir()
    (out / "lode" / "archive").symlink_to(secret)
    (out / "lode" / "blobs").symlink_to(tmp_path)
    slots = (OutputSlot("archive"), OutputSlot("blobs/*"))
    assert harvest(_grant(*slots, operations=("export",)), folder=tmp_path, candidates=None, complete=True) == []


@pytest.fixture
def candidates(tmp_path):
    transfer = DictionaryTransfer()
    pictures = [made_picture(transfer, seed) for seed in range(3)]
    view = made_view(transfer, "candidate", pictures, folder=tmp_path, class_names=("RBC",))
    path = tmp_path / "candidate.view"
    path.write_bytes(transfer.blobs[view.digest])
    return path, pictures


def test_mining_is_sorted_and_named_by_digest(tmp_path, out, candidates):
    path, pictures = candidates
    lines = [f"/in/assets/xx/{one.digest}.jpg\t{score}\n" for one, score in zip(pictures, (0.1, 0.9, 0.5), strict=True)]
    (out / "result.tsv").write_text("".join(lines))
    grant = _grant(OutputSlot("scores", required=True), operations=("mine",))
    (found,) = harvest(grant, folder=tmp_path, candidates=path, complete=True)
    order = (pictures[1].digest, pictures[2].digest, pictures[0].digest)
    assert [digest for digest, _ in read_scores(found.path)] == list(order)


def test_a_score_of_a_stranger_is_bad_output(tmp_path, out, candidates):
    (out / "result.tsv").write_text("/in/assets/00/00.jpg\t0.5\n")
    with pytest.raises(OutputError, match="none of the candidates"):
        harvest(
            _grant(OutputSlot("scores"), operations=("mine",)), folder=tmp_path, candidates=candidates[0], complete=True
        )


@pytest.mark.parametrize("key", ["boxes", "annotations"])
def test_inference_is_tidied_and_in_the_views_order(tmp_path, out, candidates, key):
    path, pictures = candidates
    box = {"x": 50, "y": 40, "w": 40, "h": 20.5}
    flat = {"x": 1, "y": 1, "w": 0, "h": 3}
    told = [
        {"box": box, "class_name": "RBC", "score": 0.4},
        {"box": flat, "class_name": "RBC", "score": 0.9},
        {"box": {"x": 0, "y": 0, "w": 5, "h": 5}, "class_name": "new", "score": 1.0000001},
    ]
    (out / "infer-result.json").write_text(
        json.dumps({"detection": {f"{pictures[1].digest}.jpg": {key: told}, f"{pictures[2].digest}.jpg": {key: []}}})
    )
    grant = _grant(OutputSlot("predictions", required=True), operations=("infer",))
    (found,) = harvest(grant, folder=tmp_path, candidates=path, complete=True)
    assert pictures_metadata(found.path).kind == "predictions"
    first, second, third = read_pictures(found.path)
    assert first.predictions is None
    assert third.predictions == ()
    assert second.predictions is not None
    assert (second.predictions[0].class_name, second.predictions[0].score) == ("new", 1.0)
    clipped = second.predictions[1]
    assert (clipped.x2, clipped.y2) == (64.0, 48.0)
    assert len(second.predictions) == 2


def test_masks_of_a_segmentation_come_home_with_their_outlines(tmp_path, out, candidates):
    path, pictures = candidates
    outline = [[50.0, 40.0, 90.0, 40.0, 90.0, 60.0]]
    name = f"{pictures[1].digest}.jpg"
    document = {
        "images": [{"id": 0, "file_name": name, "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "RBC"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 3, "segmentation": outline, "score": 0.5}],
    }
    (out / "infer-result.json").write_text(json.dumps(document))
    grant = _grant(OutputSlot("predictions", required=True), operations=("infer",))
    (found,) = harvest(grant, folder=tmp_path, candidates=path, complete=True)
    first, second, _ = read_pictures(found.path)
    assert first.predictions is None
    (box,) = second.predictions
    assert (box.x, box.x2, box.y2) == (50.0, 64.0, 48.0)
    assert json.loads(box.shape) == outline


def test_measures_of_a_segmentation_are_kept(tmp_path, out):
    _write(out, models__result="")
    (out / "models" / "best.pt").write_text("weights")
    (out / "models" / "result.yaml").write_text(
        "best_stage_name: a\nmodel_stages: {a: {stage_name: a, files: [best.pt], mIoU: 0.5, maskAP: 0.25}}\n"
    )
    found = {one.role: one.path for one in harvest(_grant(*TRAINING), folder=tmp_path, candidates=None, complete=True)}
    assert json.loads(found["result"].read_text())["stages"][0]["scores"] == {"mIoU": 0.5, "maskAP": 0.25}


def test_a_builtins_roles_are_paths_and_blobs_are_not_listed(tmp_path, out):
    _write(out, lode__exchange="e", lode__blobs__aa="b", lode__metrics="m", lode__surplus="s")
    _write(out, **{"lode__package-onnx-fp32__model.onnx": "o"})
    slots = (OutputSlot("exchange", required=True), OutputSlot("blobs/*"), OutputSlot("package-onnx-fp32/*"))
    grant = _grant(*slots, operations=("ingest",), executor="builtin:ingest")
    found = harvest(grant, folder=tmp_path, candidates=None, complete=True)
    assert {(one.role, one.listed) for one in found} == {
        ("exchange", True),
        ("blobs/aa", False),
        ("package-onnx-fp32/model.onnx", True),
    }


def test_an_output_beyond_its_bound_is_refused(tmp_path, out):
    _write(out, lode__archive="12345")
    grant = _grant(OutputSlot("archive", max_bytes=4), operations=("export",))
    with pytest.raises(OutputError, match="5 bytes; 4 are allowed"):
        harvest(grant, folder=tmp_path, candidates=None, complete=True)


def test_the_monitor_is_read_while_it_is_written(tmp_path, out):
    assert read_monitor(tmp_path) is None
    (out / "monitor.txt").write_text("t1\t166")
    assert read_monitor(tmp_path) is None
    (out / "monitor.txt").write_text("t1\t1663934682\t0.25\t2\n")
    told = read_monitor(tmp_path)
    assert told is not None
    assert told.fraction == 0.25
    assert complaint(tmp_path) is None
    (out / "monitor.txt").write_text("t1\t1663934682\t0.25\t4\t300103\tout of memory\n")
    failed = complaint(tmp_path)
    assert failed is not None
    assert failed.code == 300103
