"""The detector on real pictures: how good after how much processor time, after a kill, and in every runtime.

LODE_TEST_DATA names the folder with the BCCD zips. LODE_SOAK_RESULTS, when given, is a file that keeps what was
measured, so that an interrupted run goes on; remove it after a change of the detector. LODE_SOAK_SEED chooses the epoch
of the kill. With a LODE_SOAK_SHARE below 1 none of it is done: it takes an hour of training.
"""

import os
import random
import shutil
import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

pytest.importorskip("torch", reason="the detector needs the extra `detector`")

import torch
from detector_runs.cells import Cells, Remembered, last_stage, lay_out, measure, start, train
from detector_runs.quality import BUDGETS, CLASS_AP50, quality, tell
from lodeworks_converters.base import Attempt
from lodeworks_converters.openvino_target import OpenvinoConverter
from lodeworks_detector.network import Detector
from lodeworks_detector.weights import load_model
from lodeworks_runtime import decode_picture, load_onnx
from lodeworks_runtime.openvino_backend import OpenvinoBackend
from small_trainings import wait_for
from soak_share import SEED, SHARE

DATA = os.environ.get("LODE_TEST_DATA", "")
SEEDS = (0, 1, 2)
SHORT = BUDGETS[0].epochs
AS_GOOD = 0.01
"""How far mAP50 may move by a kill: torch adds up in another order after it."""

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not DATA, reason="LODE_TEST_DATA names no folder with the BCCD zips"),
    pytest.mark.skipif(SHARE < 1, reason="an hour of training; a share of it would show nothing"),
    pytest.mark.timeout(6 * 3600),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def cells(folder):
    return Cells.unpacked(Path(DATA), into=folder / "data")


@pytest.fixture(scope="module")
def results(folder):
    return Remembered(Path(os.environ.get("LODE_SOAK_RESULTS", folder / "results.json")))


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: f"{budget.processor_s:.0f}s")
def test_it_is_good_within_its_processor_time(cells, results, folder, budget):
    runs = [quality(cells, epochs=budget.epochs, seed=seed, results=results, folder=folder) for seed in SEEDS]
    tell(runs, epochs=budget.epochs)
    assert max(run["processor_s"] for run in runs) <= budget.processor_s
    assert statistics.mean(run["ap50"] for run in runs) >= budget.ap50
    for name in runs[0]["classes"]:
        assert statistics.mean(run["classes"][name] for run in runs) >= CLASS_AP50, name


@pytest.fixture(scope="module")
def continued(cells, folder):
    """A training that was killed in a random epoch and taken up from its checkpoint."""
    epoch = random.Random(SEED).randrange(3, SHORT - 3)
    killed = lay_out(folder / "killed", cells, epochs=SHORT, seed=0, checkpoint_interval_s=0)
    process = start(killed)
    try:
        checkpoint = folder / "killed/out/lode/checkpoint"
        wait_for(checkpoint / f"epoch_{epoch}-state.pt", process, limit_s=3600)
    finally:
        process.kill()
        process.wait()
    print(f"killed after epoch {epoch} of {SHORT}")
    again = lay_out(folder / "again", cells, epochs=SHORT, seed=0, resume=True)
    shutil.copytree(checkpoint, again.parent / "lode/checkpoint")
    train(again)
    assert "resumed after epoch" in (folder / "again/log").read_text()
    return last_stage(folder / "again")


def test_a_killed_training_ends_as_good_as_an_unbroken_one(cells, results, folder, continued):
    whole = quality(cells, epochs=SHORT, seed=0, results=results, folder=folder)
    again = measure(load_onnx(continued / "model.onnx"), cells.test)
    print(f"mAP50 {whole['ap50']:.4f} unbroken, {again.ap50:.4f} after a kill")
    assert again.ap50 == pytest.approx(whole["ap50"], abs=AS_GOOD)


def test_torch_onnx_and_openvino_answer_the_same(cells, continued, tmp_path):
    saved = load_model(continued / "model.pt")
    network = Detector(classes=len(saved.class_names), shape=saved.shape).eval()
    network.load_state_dict(saved.state)
    algorithm = load_onnx(continued / "model.onnx")
    attempt = Attempt(precision="fp32")
    OpenvinoConverter().convert(continued / "model.onnx", attempt=attempt, calibration=[], out=tmp_path)
    openvino = OpenvinoBackend(tmp_path / "model.xml")
    furthest = {"onnx": [0.0, 0.0], "openvino": [0.0, 0.0]}
    for path, _ in cells.test:
        blob, _ = algorithm.prepare(decode_picture(path.read_bytes()))
        with torch.no_grad():
            wanted = network(torch.from_numpy(blob))
        scores, boxes = wanted.logits.sigmoid().numpy(), wanted.boxes.numpy()
        raw, other = algorithm.run_input(blob), openvino.run(blob)
        for name, found in (("onnx", (raw.scores, raw.boxes)), ("openvino", (other["scores"], other["boxes"]))):
            moved = abs(found[0] - scores).max(), abs(found[1] - boxes).max()
            furthest[name] = [max(pair) for pair in zip(furthest[name], moved, strict=True)]
    print({name: f"score {score:.1e}, box {box:.1e} px" for name, (score, box) in furthest.items()})
    for score, box in furthest.values():
        assert score <= 1e-4
        assert box <= 0.01
