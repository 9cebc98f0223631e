"""kill -9 of controller and worker at random instants while trainings and imports go on.

The seeds are printed; LODE_SOAK_SEED chooses them, LODE_SOAK_SHARE how many kills (1 = 20 of each). The training is on
BCCD at its real size where LODE_TEST_DATA names the folder with bccd-trainval.zip, else on made pictures.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from local_installation import LocalWorld, eventually
from lodeworks.api.dataset.v1 import dataset_pb2
from lodeworks.api.model.v1 import model_pb2
from lodeworks.api.task.v1 import task_pb2
from soak_share import SEED, SHARE

KILLS = max(2, round(20 * SHARE))
SMALL = {"input_size": "64x96", "threads": 1, "patience": 10_000, "model_width": 0.5}


class Killer:
    """Kills one of the programs at random instants and starts it again."""

    def __init__(self, world: LocalWorld, name: str, *, kills: int, seed: int) -> None:
        self._world = world
        self._name = name
        self._random = random.Random(seed)
        self._left = kills
        self.killed: set[int] = set()
        self.done = threading.Event()
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._left > 0:
                time.sleep(self._random.uniform(0.3, 5.0))
                self.killed.add(self._world.kill(self._name))
                time.sleep(self._random.uniform(0.0, 0.5))
                self._world.up()
                self._left -= 1
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failures.append(repr(error))
        finally:
            self.done.set()


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_kills_while_a_training_and_imports_go_on(tmp_path: Path):
    print(f"\nseed {SEED}, {KILLS} kills of the worker, then as many of the controller")
    world = LocalWorld(tmp_path)
    world.up()
    try:
        _exercise(world)
    finally:
        world.down()


def _exercise(world: LocalWorld) -> None:
    archive, settings = _what_is_trained(world)
    world.lode("dataset", "import", archive, "--to", "labelled", "--unknown-classes", "add")
    world.lode("dataset", "split", "labelled", "--to", "train=80,val=20")
    with world.client() as client:
        project = client.project()
        train, val = project.datasets.get("train"), project.datasets.get("val")
        training = project.models.train(train=train, val=val, name="shapes", settings={"epochs": 10_000, **settings})
        eventually(lambda: training.refresh().over or bool(_epochs(training)), timeout_s=240, what="a first epoch")
        assert not training.over, training.data
        imported = 0
        for name in ("worker", "controller"):
            imported = _imports_over_kills(world, name, project, imported)
            logged = len(_epochs(training))
            eventually(lambda: len(_epochs(training)) > logged + 1, timeout_s=240, what="an epoch after the kills")  # noqa: B023
        _check_the_training(world, training)
        assert project.models.get("shapes@1").data.state == model_pb2.MODEL_STATE_PARTIAL
        _check_versions(project, imported)
        _import_once(project, world, number=imported)
        print(f"{imported} imports beside, {len(_epochs(training))} epochs logged")


def _what_is_trained(world: LocalWorld) -> tuple[Path, dict[str, Any]]:
    """Returns an archive of labelled pictures, and the settings of the training."""
    given = Path(os.environ.get("LODE_TEST_DATA", "nowhere")) / "bccd-trainval.zip"
    if given.is_file():
        return given, {"patience": 10_000, "threads": 1}
    return world.made_pictures(pictures=40, seed=SEED), SMALL


def _imports_over_kills(world: LocalWorld, name: str, project: Any, imported: int) -> int:
    """Imports one archive after the other until the kills are done; returns how many there are now."""
    killer = Killer(world, name, kills=KILLS, seed=SEED)
    killer.start()
    while not killer.done.is_set():
        _import_once(project, world, number=imported)
        imported += 1
    killer.join()
    assert not killer.failures, killer.failures
    assert len(killer.killed) == KILLS
    return imported


def _import_once(project: Any, world: LocalWorld, *, number: int) -> None:
    """Imports, whatever is killed meanwhile: the run is adopted and its version is there."""
    archive = world.made_pictures(pictures=8, seed=1000 + number)
    task = project.datasets.import_from(archive, to="many", unknown_classes="add")
    version = task.result()
    assert task.data.attempt == 1, "the import was started again instead of adopted"
    assert version.data.state == dataset_pb2.VERSION_STATE_READY
    assert version.data.picture_count == 8


def _epochs(training: Any) -> list[int]:
    """Returns the numbers of the epochs that the log tells."""
    lines = b"".join(training.log()).decode().splitlines()
    return [int(line.split()[1].partition("/")[0]) for line in lines if line.startswith("epoch ")]


def _check_the_training(world: LocalWorld, training: Any) -> None:
    """It is the run that was started first, and what it wrote has arrived once and in order."""
    eventually(lambda: _state(training) == task_pb2.TASK_STATE_RUNNING, what="the training's state")
    assert training.data.attempt == 1, "the run was started again instead of adopted"
    (folder,) = (world.state / "worker" / "runs").glob(f"{training.id}-*")
    written_log = (folder / "run" / "output.log").read_bytes()
    written_metrics = (folder / "out" / "lode" / "metrics.jsonl").read_text().splitlines()[:-1]
    training.cancel().wait()
    assert training.data.state == task_pb2.TASK_STATE_CANCELLED
    log = b"".join(training.log())
    assert log.startswith(written_log), "log lines were lost or repeated"
    numbers = _epochs(training)
    assert numbers == list(range(1, len(numbers) + 1))
    points = [(point.step, point.name, point.value) for point in training.metrics()]
    told = [(point["step"], point["name"], point["value"]) for point in map(json.loads, written_metrics)]
    assert points[: len(told)] == told, "metrics were lost or repeated"
    assert len(set(points)) == len(points)


def _state(training: Any) -> int:
    return int(training.refresh().data.state)


def _check_versions(project: Any, imported: int) -> None:
    """Every import made one version, whole to the last byte of the last picture."""
    versions = list(project.datasets.history("many"))
    assert len(versions) == imported
    for version in versions:
        assert version.data.state == dataset_pb2.VERSION_STATE_READY
        pictures = list(version.pictures())
        assert len(pictures) == version.data.picture_count
        assert all(version.picture_bytes(picture) for picture in pictures)
