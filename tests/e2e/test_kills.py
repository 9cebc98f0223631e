"""kill -9 of controller and worker at random instants while trainings and imports go on.

The seeds are printed; LODE_SOAK_SEED chooses them, LODE_SOAK_SHARE how many kills (1 = 20 of each).
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest
from local_installation import LocalWorld
from lodeworks.api.dataset.v1 import dataset_pb2
from lodeworks.api.task.v1 import task_pb2
from lodeworks.errors import LodeError, TaskFailedError, UnreachableError

if TYPE_CHECKING:
    from pathlib import Path

SEED = int(os.environ.get("LODE_SOAK_SEED", "1"))
SHARE = float(os.environ.get("LODE_SOAK_SHARE", "1"))
KILLS = max(2, round(20 * SHARE))


class Killer:
    """Kills one of the programs at random instants and starts it again."""

    def __init__(self, world: LocalWorld, name: str, *, kills: int, seed: int) -> None:
        self._world = world
        self._name = name
        self._random = random.Random(seed)
        self._left = kills
        self.done = threading.Event()
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(600)

    def _run(self) -> None:
        try:
            while self._left > 0:
                time.sleep(self._random.uniform(0.3, 3.0))
                self._world.kill(self._name)
                time.sleep(self._random.uniform(0.0, 0.5))
                self._world.up()
                self._left -= 1
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failures.append(repr(error))
        finally:
            self.done.set()


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["worker", "controller"])
def test_kills_while_a_training_and_imports_go_on(tmp_path: Path, name: str):
    print(f"\n{name}: seed {SEED}, {KILLS} kills")
    world = LocalWorld(tmp_path)
    world.up()
    try:
        _exercise(world, name)
    finally:
        world.down()


def _exercise(world: LocalWorld, name: str) -> None:
    archive = world.made_pictures(pictures=160, seed=SEED)
    world.lode("dataset", "import", archive, "--to", "labelled", "--unknown-classes", "add")
    world.lode("dataset", "split", "labelled", "--to", "train=80,val=20")
    with world.client() as client:
        project = client.project()
        killer = Killer(world, name, kills=KILLS, seed=SEED)
        training = project.models.train(
            train=project.datasets.get("train"),
            val=project.datasets.get("val"),
            name="shapes",
            settings={"epochs": 10_000, "patience": 0},
        )
        killer.start()
        imported = 0
        while not killer.done.is_set():
            imported += _import_once(project, world, number=imported)
        killer.join()
        assert not killer.failures, killer.failures
        training.refresh()
        assert training.data is not None
        assert training.data.state == task_pb2.TASK_STATE_RUNNING, training.data
        assert training.data.attempt == 1, "the run was started again instead of adopted"
        training.cancel().wait()
        _check_versions(project)
        log = b"".join(training.log())
        numbers = [int(line.split()[1].partition("/")[0]) for line in log.decode().splitlines() if line.startswith("epoch ")]
        assert numbers == sorted(set(numbers)), "log lines were lost or repeated"
        print(f"{imported} imports beside, {len(numbers)} epochs logged")


def _import_once(project, world: LocalWorld, *, number: int) -> int:
    archive = world.made_pictures(pictures=8, seed=1000 + number)
    try:
        version = project.datasets.import_from(archive, to="many", unknown_classes="add").result()
    except (UnreachableError, TaskFailedError):
        return 0
    assert version.data.state == dataset_pb2.VERSION_STATE_READY
    return 1


def _check_versions(project) -> None:
    """Every version is whole or is none: those that are ready can be read to the last picture."""
    for version in project.datasets.history("many"):
        if version.data.state != dataset_pb2.VERSION_STATE_READY:
            continue
        pictures = list(version.pictures())
        assert len(pictures) == version.data.picture_count
        for picture in pictures:
            try:
                assert version.picture_bytes(picture)
            except LodeError as error:
                raise AssertionError(f"{version.name} lacks {picture.digest}") from error
