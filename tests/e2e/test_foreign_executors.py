"""Images that were made for YMIR, run unmodified: train, mine, infer, and every way to fail with its reason."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sample_images
from lodeworks.options import TaskOptions
from soak_share import sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local_installation import LocalWorld

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(sample_images.missing()), reason=sample_images.missing() or "all is here"),
]
_CODES = {
    300001: ("CONFIG", "bad_input"),
    300101: ("CUDA_MISMATCH", "worker"),
    300103: ("OUT_OF_MEMORY", "oom"),
    300201: ("NOT_A_NUMBER", "user"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The two sample images."""
    folder = tmp_path_factory.mktemp("images")
    return {name: sample_images.build(name, folder / name) for name in ("legacy", "staged")}


@pytest.fixture(scope="module")
def prepared(world: LocalWorld, images: dict[str, str]) -> LocalWorld:
    """Both images registered, pictures to train on and to choose from."""
    world.lode("dataset", "import", world.made_pictures(pictures=24, seed=7), "--to", "all", "--unknown-classes", "add")
    world.lode("dataset", "split", "all", "--to", "train=60,val=40", "--identical-only")
    for name, reference in images.items():
        world.lode("executor", "add", name, "--image", reference)
    return world


def _train(world: LocalWorld, name: str, executor: str, *settings: str) -> dict:
    given = [word for setting in settings for word in ("--set", setting)]
    return world.json("model", "train", "--train", "train", "--val", "val", "-n", name, "--executor", executor, *given)


def _pictures(world: LocalWorld, dataset: str, predictions: str = "") -> dict:
    with world.client() as client:
        version = client.project().datasets.get(dataset)
        return {one.digest: one for one in version.pictures(prediction_set_id=predictions)}


def test_an_image_is_registered_by_what_lies_in_it(prepared: LocalWorld, images: dict[str, str]):
    legacy, staged = (prepared.json("executor", "show", name) for name in ("legacy", "staged"))
    assert legacy["image"].startswith("lodeworks-test/legacy@sha256:")
    assert legacy["reference"] == images["legacy"]
    assert legacy["operations"] == ["train", "mine", "infer"]
    assert staged["object_types"] == [2]
    said = prepared.lode("executor", "add", "none", "--image", sample_images.BASE, ok=False)
    assert said.code == 1
    assert "is not an executor image: I looked for /img-man/training-template.yaml" in said.err
    assert "none" not in [one["name"] for one in prepared.json("executor", "ls")]


def test_an_image_on_ymir_exc_trains_mines_and_infers(prepared: LocalWorld):
    model = _train(prepared, "old", "legacy", "epochs=1")
    assert [stage["name"] for stage in model["stages"]] == ["default_best_stage"]
    train, val = _pictures(prepared, "train"), _pictures(prepared, "val")
    mined = prepared.json(
        "dataset", "mine", "val", "--top", "100", "--model", "old", "--to", "m-old", "--executor", "legacy"
    )
    assert mined["picture_count"] == len(val), "a top k above the number of pictures gives them all"
    # The platform cannot run its weights: who trained them infers.
    made = prepared.json("model", "infer", "old", "--on", "val")
    predicted = _pictures(prepared, "val", made["id"])
    assert set(predicted) == set(val)
    boxes = {box.class_name: box for one in predicted.values() for box in one.predictions}
    for name, box in boxes.items():
        truth = [one for picture in train.values() for one in picture.boxes if one.class_name == name]
        for side in ("x", "y", "w", "h"):
            mean = sum(getattr(one, side) for one in truth) / len(truth)
            assert abs(getattr(box, side) - mean) <= 2, (name, side)
    log = prepared.lode("task", "logs", model["task_id"]).out
    assert f"validated on {len(val)} pictures" in log


def test_stages_attachments_and_curves_of_an_image(prepared: LocalWorld):
    model = _train(prepared, "new", "staged")
    assert [stage["name"] for stage in model["stages"]] == ["epoch_2", "epoch_3"]
    assert model["recommended_stage"] == "epoch_3"
    assert model["stages"][0]["metrics"]["tp"] == 2
    with prepared.client() as client:
        points = client.tasks.get(model["task_id"]).metrics()
    assert {point.name for point in points} == {"run/loss/box", "run/val/mAP"}
    assert [point.value for point in points if point.name == "run/loss/box"] == pytest.approx([1, 1 / 2, 1 / 3])
    paths = prepared.json("model", "export", "new", prepared.folder / "got", "--everything")
    there = {str(Path(one["path"]).relative_to(prepared.folder / "got")) for one in paths}
    kept = {"attachments/notes/readme.md", "tensorboard/run/events.out.tfevents.1"}
    assert there == {"weights.json", "config.txt"} | kept
    mined = prepared.json("dataset", "mine", "val", "--top", "3", "--model", "new", "--to", "m-new")
    assert mined["picture_count"] == 3
    made = prepared.json("model", "infer", "new:epoch_2", "--on", "val", "--set", "score=0.4")
    assert made["name"].startswith("new@1:epoch_2")
    evaluated = prepared.json("model", "evaluate", "new", "--on", "val")
    assert evaluated["state"] == "ready"


def test_associated_executors_are_taken_where_none_is_named(prepared: LocalWorld):
    prepared.lode("executor", "copy", "staged", "--to", "helper")
    prepared.lode("executor", "associate", "staged", "--mining", "helper", "--inference", "helper")
    try:
        _train(prepared, "assisted", "staged", "epochs=1")
        prepared.lode("model", "infer", "assisted", "--on", "val")
        (task,) = [one for one in prepared.json("task", "ls") if one["title"].startswith("infer assisted")]
        worker_log = prepared.lode("task", "logs", task["id"], "--worker").out
        assert "image:lodeworks-test/staged@" in worker_log
        refused = prepared.lode("executor", "delete", "helper", "--yes", ok=False)
        assert refused.code == 4
        assert "mines or infers for: staged" in refused.err
    finally:
        prepared.lode("executor", "associate", "staged", "--mining", "", "--inference", "")
    prepared.lode("executor", "delete", "helper", "--yes")


def _failed(world: LocalWorld, task_id: str) -> dict:
    said = world.lode("task", "wait", task_id, ok=False)
    assert said.code == 1, said
    return world.json("task", "show", task_id)


@contextmanager
def _begun(world: LocalWorld) -> Iterator[Callable[..., str]]:
    """Yields what begins a training and returns its task's id."""
    with world.client() as client:
        project = client.project()
        train, val = project.datasets.get("train"), project.datasets.get("val")

        def begin(name: str, *, executor: str = "staged", stall_timeout_s: float = 0.0, **settings: Any) -> str:
            # What a failed attempt of the platform's is tried again for is not the matter here.
            options = TaskOptions(infrastructure_retries=0, stall_timeout_s=stall_timeout_s)
            task = project.models.train(
                train=train, val=val, name=name, executor=executor, settings=settings, options=options
            )
            return task.id

        yield begin


def test_every_failure_arrives_with_its_reason_and_the_next_step(prepared: LocalWorld):
    with _begun(prepared) as begin:
        codes = {code: begin(f"crash-{code}", crash=code) for code in _CODES}
        faults = {name: begin(name, fault=name) for name in ("silent", "garbage", "half_monitor")}
    for code, task_id in codes.items():
        word, reason = _CODES[code]
        task = _failed(prepared, task_id)
        assert task["reason"] == reason, task
        assert f"told to crash (exit code 1, code {code} {word})" in task["error"]
        assert task["next_step"]
    told = {name: _failed(prepared, faults[name]) for name in ("silent", "garbage")}
    assert (told["silent"]["reason"], told["silent"]["exit_code"]) == ("user", 7)
    assert told["garbage"]["reason"] == "bad_output"
    assert told["garbage"]["error"].startswith("models/result.yaml")
    assert "mend the executor" in told["garbage"]["next_step"]
    prepared.lode("task", "wait", faults["half_monitor"])  # half a line in monitor.txt is a write that goes on


def test_bounds_of_an_executor_hold(prepared: LocalWorld):
    prepared.lode("executor", "copy", "staged", "--to", "bounded")
    shown = prepared.json("executor", "set", "bounded", "--memory", "96M", "--out", "24M", "--network", "none")
    assert shown["policy"]["memory_bytes"] == 96 << 20
    with _begun(prepared) as begin:
        greedy = begin("greedy", executor="bounded", fault="out_of_memory")
        filler = begin("filler", executor="bounded", fault="fill_out")
    assert _failed(prepared, greedy)["reason"] == "oom"
    full = _failed(prepared, filler)
    assert full["reason"] == "user"
    assert "its executor may write 25165824" in full["error"]
    refused = prepared.lode("executor", "set", "bounded", "--network", "host", ok=False)
    assert refused.code == 2
    assert "host would open the worker itself" in refused.err


def test_mistaken_settings_cost_a_second(prepared: LocalWorld):
    words = ("model", "train", "--train", "train", "--val", "val", "--executor", "staged", "--dry-run", "--set")
    said = prepared.lode(*words, "epoch=3", ok=False)
    assert "has no setting 'epoch'; did you mean epochs?" in said.err
    assert "made by the platform" in prepared.lode(*words, "class_names=[a]", ok=False).err
    assert "wants a whole number" in prepared.lode(*words, "epochs=many", ok=False).err


@pytest.mark.soak
def test_a_check_proves_a_good_image(prepared: LocalWorld):
    report = prepared.json("executor", "check", "staged")
    assert report["passed"]
    found = {one["name"]: one["outcome"] for one in report["findings"]}
    assert set(found.values()) <= {"passed", "skipped"}, report
    names = {
        "training.result",
        "mining.scores",
        "inference.boxes",
        "together.scores",
        "error.config",
        "error.no-pictures",
    }
    assert names <= {name for name, outcome in found.items() if outcome == "passed"}


@pytest.mark.soak
def test_a_check_of_the_image_on_ymir_exc_finds_no_fault(prepared: LocalWorld):
    report = prepared.json("executor", "check", "legacy")
    assert report["passed"], report
    advised = {one["name"] for one in report["findings"] if one["outcome"] == "advice"}
    assert advised == {"training.curves", "error.config"}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("fault", "finding", "word"),
    sampled(
        [
            ("garbage", "training.result", "this is no YAML"),
            ("missing_file", "training.result", "weights.json"),
            ("no_result", "training.result", "no models/result.yaml"),
            ("silent", "training.exit", "exit code 7"),
            ("hang", "training.exit", "did not end in time"),
            ("lost_candidate", "mining.scores", "leaves out 1 candidates"),
            ("foreign_candidate", "mining.scores", "none of the candidates"),
            ("strange_class", "inference.boxes", "griffin"),
        ]
    ),
)
def test_a_check_names_the_fault_of_a_bad_image(
    prepared: LocalWorld, tmp_path: Path, fault: str, finding: str, word: str
):
    image = sample_images.broken(fault, tmp_path)
    said = prepared.lode("executor", "check", image, "--run-timeout", "8", "-o", "json", ok=False)
    assert said.code == 1
    report = json.loads(said.out)
    assert not report["passed"]
    (found,) = [one for one in report["findings"] if one["name"] == finding]
    assert found["outcome"] == "failed"
    assert word in found["seen"]
    assert found["advice"]


@pytest.mark.soak
def test_a_run_that_hangs_is_ended_for_its_silence(prepared: LocalWorld):
    with _begun(prepared) as begin:
        task = _failed(prepared, begin("hung", fault="hang", stall_timeout_s=3.0))
    assert task["reason"] == "stall"
    assert "--stall-timeout" in task["next_step"]
