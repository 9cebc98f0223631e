"""The detector as a program: it learns, is repeatable, survives a kill, and stops when asked to."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from lodeworks_executor import run_program
from lodeworks_formats.ymir_results import parse_monitor, parse_training_result
from lodeworks_runtime import load_onnx
from small_trainings import NAMES, lay_out, picture, start, wait_for, write_pictures

pytest.importorskip("torch", reason="the detector needs the extra `detector`")

from lodeworks_detector.executor import execute


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """48 pictures, as index lines."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), count=48)


@pytest.fixture
def run_at(tmp_path, pictures):
    """Lays out a training in a folder of its own, on 40 pictures, validated on 8, and returns its env.yaml."""

    def make(name, **settings):
        return lay_out(tmp_path / name, training=pictures[:40], validation=pictures[40:], **settings)

    return make


def _losses(root):
    lines = [json.loads(line) for line in (root / "out/lode/metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["value"] for line in lines if line["name"] == "train/loss"}


def test_it_learns_and_leaves_a_model_that_runs(run_at):
    env_file = run_at("learn", epochs=20)
    assert run_program(execute, env_file=env_file) == 0
    out = env_file.parents[1] / "out"
    result = parse_training_result((out / "models/result.yaml").read_text())
    best = next(stage for stage in result.stages if stage.name == result.best_stage_name)
    assert best.scores["mAP"] >= 0.6
    assert result.stages[-1].name == "epoch_20"
    assert len(result.stages) <= 4
    assert parse_monitor((out / "monitor.txt").read_text()).fraction == 1.0
    assert list((out / "tensorboard").iterdir())
    algorithm = load_onnx(out / "models" / best.name / "model.onnx")
    image, boxes = picture(1000)
    found = algorithm.predict([image], score=0.3)[0]
    assert {box.class_name for box in found} & {box.class_name for box in boxes}


def test_a_killed_training_goes_on_as_if_nothing_had_happened(run_at):
    whole = run_at("whole", epochs=3)
    assert run_program(execute, env_file=whole) == 0
    killed = run_at("killed", epochs=3)
    process = start(killed)
    try:
        wait_for(killed.parents[1] / "out/lode/checkpoint/DONE", process)
    finally:
        process.kill()
        process.communicate()
    again = run_at("again", epochs=3, resume=True)
    shutil.copytree(killed.parents[1] / "out/lode/checkpoint", again.parent / "lode/checkpoint")
    assert run_program(execute, env_file=again) == 0
    wanted, found = _losses(whole.parents[1]), _losses(again.parents[1])
    assert 1 not in found
    assert found
    # The same seed, torch and threads: what was learnt before and after the kill is the same to the digit or nearly so.
    assert found == pytest.approx({epoch: wanted[epoch] for epoch in found}, abs=1e-3)
    assert _losses(killed.parents[1])[1] == pytest.approx(wanted[1], abs=1e-3)
    result = parse_training_result((again.parents[1] / "out/models/result.yaml").read_text())
    assert {stage.name for stage in result.stages} >= {"epoch_3"}


def test_a_checkpoint_of_another_network_is_refused(run_at):
    first = run_at("first", epochs=2)
    assert run_program(execute, env_file=first) == 0
    other = run_at("other", epochs=2, model_width=0.25, resume=True)
    shutil.copytree(first.parents[1] / "out/lode/checkpoint", other.parent / "lode/checkpoint")
    assert run_program(execute, env_file=other) == 1
    monitor = parse_monitor((other.parents[1] / "out/monitor.txt").read_text())
    assert (monitor.code, "start without it" in monitor.message) == (300004, True)


def test_sigterm_ends_it_quickly_and_keeps_its_stages(run_at):
    env_file = run_at("stopped", epochs=1000)
    process = start(env_file)
    try:
        wait_for(env_file.parents[1] / "out/models/result.yaml", process)
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
        assert time.monotonic() - asked_at < 10
    finally:
        process.kill()
        process.communicate()
    models = env_file.parents[1] / "out/models"
    for stage in parse_training_result((models / "result.yaml").read_text()).stages:
        assert load_onnx(models / stage.name / "model.onnx").classes == tuple(NAMES)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"epochs": "many"}, 300001, "epochs"),
        ({"epoch": 3}, 300001, "did you mean 'epochs'"),
        ({"class_names": ["disc", "square", "moon"]}, 300002, "'moon'"),
        ({"pretrained_model_params": ["/nowhere/model.onnx"]}, 300004, "model.onnx"),
        ({"gpu_id": "0"}, None, "GPU"),
    ],
)
def test_what_cannot_be_trained_is_told(run_at, settings, code, words):
    env_file = run_at("refused", **settings)
    assert run_program(execute, env_file=env_file) == 1
    monitor = parse_monitor((env_file.parents[1] / "out/monitor.txt").read_text())
    assert monitor.state == 4
    assert monitor.code == code or (code is None and monitor.code in {300101, 300102})
    assert words in monitor.message
    assert not Path(env_file.parents[1] / "out/models/result.yaml").exists()


def test_it_goes_on_from_a_model_with_other_classes(run_at):
    first = run_at("first", epochs=1)
    assert run_program(execute, env_file=first) == 0
    weights = first.parents[1] / "out/models/epoch_1/model.pt"
    second = run_at("second", epochs=1, class_names=["Disc", "ring"], pretrained_model_params=[str(weights)])
    assert run_program(execute, env_file=second) == 0
    model = load_onnx(second.parents[1] / "out/models/epoch_1/model.onnx")
    assert model.classes == ("Disc", "ring")
