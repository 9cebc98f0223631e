"""The same training as a process and in a container: the same losses; a cancel leaves what was there."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from local_installation import LocalWorld, eventually

ROOT = Path(__file__).resolve().parents[2]
DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
IMAGE = "lodeworks-detector"
EPOCHS = 40
GRACE_S = 30.0
SETTINGS = (
    "--set",
    f"epochs={EPOCHS}",
    "--set",
    "seed=3",
    "--set",
    "threads=1",
    "--set",
    "input_size=96x128",
    "--set",
    "patience=40",
    "--set",
    "batch_size=4",
)


def _image_id() -> str:
    """Returns the id of the detector's image; empty without an engine or without the image."""
    if DOCKER is None:
        return ""
    found = subprocess.run(
        [DOCKER, "image", "ls", "-q", "--no-trunc", IMAGE], capture_output=True, text=True, check=False, timeout=20
    )
    return found.stdout.split("\n")[0].strip()


pytestmark = [
    pytest.mark.long,
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not _image_id(), reason="no docker engine with the image that `make images` builds"),
]


@pytest.fixture(scope="module")
def prepared(world: LocalWorld) -> LocalWorld:
    archive = world.made_pictures(pictures=60, seed=5)
    world.lode("dataset", "import", archive, "--to", "labelled", "--unknown-classes", "add")
    world.lode("dataset", "split", "labelled", "--to", "train=80,val=20")
    templates = ROOT / "executors/lodeworks_detector/img-man"
    world.lode("executor", "add", "detector-image", "--image", _image_id(), "--templates", templates)
    return world


def _losses(world: LocalWorld, task_id: str) -> dict[int, float]:
    with world.client() as client:
        points = client.tasks.get(task_id).metrics()
    return {point.step: point.value for point in points if point.name == "train/loss"}


def _containers() -> str:
    """Returns the names of all containers, running or not."""
    assert DOCKER is not None
    listed = subprocess.run(
        [DOCKER, "ps", "-a", "--format", "{{.Names}}"], capture_output=True, text=True, check=True, timeout=20
    )
    return listed.stdout


def test_a_container_trains_as_a_process_does(prepared: LocalWorld):
    train = ("model", "train", "--train", "train", "--val", "val", *SETTINGS)
    here = prepared.json(*train, "-n", "here")
    there = prepared.json(*train, "-n", "there", "--executor", "detector-image")
    ours, theirs = _losses(prepared, here["task_id"]), _losses(prepared, there["task_id"])
    assert len(ours) == EPOCHS
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[step] - theirs[step]) <= 1e-3 for step in ours), (ours, theirs)
    assert abs(here["map50"] - there["map50"]) <= 0.01
    apart = max(abs(ours[step] - theirs[step]) for step in ours)
    print(f"\nloss apart by at most {apart:.2e}; mAP50 {here['map50']:.4f} and {there['map50']:.4f}")
    eventually(lambda: there["task_id"] not in _containers(), what="the end of the container")


def test_a_container_outlives_its_worker_and_a_cancel_leaves_the_stages(prepared: LocalWorld):
    train = ("model", "train", "--train", "train", "--val", "val", "-n", "cut", "--executor", "detector-image")
    task_id = prepared.lode(*train, "--set", "epochs=5000", "--set", "input_size=128x160", "--detach").out.strip()
    eventually(lambda: len(_losses(prepared, task_id)) >= 3, timeout_s=240, what="three epochs")
    prepared.kill("worker")
    prepared.up()
    before = len(_losses(prepared, task_id))
    eventually(lambda: len(_losses(prepared, task_id)) >= before + 2, timeout_s=120, what="epochs after the kill")
    assert prepared.json("task", "show", task_id)["attempt"] == 1, "the container was started again"
    started_s = time.monotonic()
    prepared.lode("task", "cancel", task_id)
    eventually(lambda: prepared.json("task", "show", task_id)["state"] == "cancelled", timeout_s=60, what="the cancel")
    took_s = time.monotonic() - started_s
    print(f"\ncancelled after {took_s:.1f} s")
    assert took_s < GRACE_S + 5
    eventually(lambda: task_id not in _containers(), what="the end of the container")
    version = prepared.json("model", "show", "cut@1")
    assert version["state"] == "partial"
    assert version["stages"]
    assert prepared.lode("model", "show", "cut", ok=False).code != 0, "a partial version is never the newest"
