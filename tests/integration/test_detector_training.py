"""The detector as a program: it learns, is repeatable, survives a kill, and stops when asked to."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from lodeworks_executor import run_program
from lodeworks_formats.annotations.ark import render_ark
from lodeworks_formats.boxes import Box
from lodeworks_formats.protocol import Environment, render_config, render_environment, render_index
from lodeworks_formats.ymir_results import parse_monitor, parse_training_result
from lodeworks_runtime import load_onnx

pytest.importorskip("torch", reason="the detector needs the extra `detector`")

from lodeworks_detector.executor import execute

SIDE = 64
NAMES = ["disc", "square"]
TINY = {"model_width": 0.5, "batch_size": 8, "threads": 1, "precision": "float32", "checkpoint_interval_s": 0}


def _picture(number):
    """Noise with one to three shapes, and their boxes."""
    random = np.random.default_rng(number)
    image = random.integers(60, 110, (SIDE, SIDE, 3), dtype=np.uint8)
    boxes = []
    for slot in random.permutation(4)[: random.integers(1, 4)]:
        side = int(random.integers(14, 28))
        x, y = int(slot % 2) * 32 + int(random.integers(0, 32 - side)), int(slot // 2) * 32 + 2
        name = NAMES[int(random.integers(2))]
        if name == "square":
            cv2.rectangle(image, (x, y), (x + side - 1, y + side - 1), (40, 40, 230), -1)
        else:
            cv2.circle(image, (x + side // 2, y + side // 2), side // 2, (60, 220, 60), -1)
        boxes.append(Box(name, x, y, side, side))
    return image, boxes


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """40 pictures to train on and 8 to validate on, as index lines."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = []
    for number in range(48):
        image, boxes = _picture(number)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        note = folder / f"{number}.txt"
        note.write_text(render_ark(boxes, class_names=NAMES, width=SIDE, height=SIDE))
        lines.append((str(folder / f"{number}.png"), str(note)))
    return lines[:40], lines[40:]


@pytest.fixture
def run_at(tmp_path, pictures):
    """Lays out a training in a folder of its own and returns its env.yaml."""

    def make(name, **settings):
        root = tmp_path / name
        (root / "in").mkdir(parents=True)
        environment = Environment.at(
            "t1", operations={"training"}, input_root=str(root / "in"), output_root=str(root / "out")
        )
        (root / "in/env.yaml").write_text(render_environment(environment))
        config = {"task_id": "t1", "class_names": NAMES, "gpu_id": "", "export_format": "ark:raw", **TINY, **settings}
        (root / "in/config.yaml").write_text(render_config(config))
        for index, lines in zip(("train", "val"), pictures, strict=True):
            (root / f"in/{index}-index.tsv").write_text(render_index(lines))
        return root / "in/env.yaml"

    return make


def _start(env_file):
    return subprocess.Popen(
        [sys.executable, "-m", "lodeworks_detector"],
        env={**os.environ, "LODE_ENV_FILE": str(env_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(path, process, *, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


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
    image, boxes = _picture(1000)
    found = algorithm.predict([image], score=0.3)[0]
    assert {box.class_name for box in found} & {box.class_name for box in boxes}


def test_a_killed_training_goes_on_as_if_nothing_had_happened(run_at):
    whole = run_at("whole", epochs=3)
    assert run_program(execute, env_file=whole) == 0
    killed = run_at("killed", epochs=3)
    process = _start(killed)
    try:
        _wait_for(killed.parents[1] / "out/lode/checkpoint/DONE", process)
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
    process = _start(env_file)
    try:
        _wait_for(env_file.parents[1] / "out/models/result.yaml", process)
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
