"""kill -9 of controllers, workers, shims and programs at random, under load: every task ends as it should.

LODE_CHAOS is how many minutes of killing (10), LODE_SOAK_SHARE the share of them, LODE_SOAK_SEED chooses whom.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from chaos_executor import said
from chaos_installation import ChaosInstallation, Killer
from local_installation import eventually
from lodeworks.api.model.v1 import model_pb2
from lodeworks.api.task.v1 import task_pb2
from lodeworks.errors import LodeError

if TYPE_CHECKING:
    from pathlib import Path

SEED = int(os.environ.get("LODE_SOAK_SEED", "1"))
SHARE = float(os.environ.get("LODE_SOAK_SHARE", "1"))
MINUTES = max(0.5, float(os.environ.get("LODE_CHAOS", "10")) * SHARE)
IN_FLIGHT = 8
NAMES = {
    task_pb2.TASK_STATE_SUCCEEDED: "succeeded",
    task_pb2.TASK_STATE_FAILED: "failed",
    task_pb2.TASK_STATE_CANCELLED: "cancelled",
}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kills_on_sqlite(tmp_path: Path):
    _exercise(ChaosInstallation(tmp_path))


@pytest.mark.soak
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_kills_on_postgresql_with_two_controllers(tmp_path: Path, postgres_url: str):
    _exercise(ChaosInstallation(tmp_path, database=postgres_url, controllers=2))


def _exercise(world: ChaosInstallation) -> None:
    world.folder.chmod(0o755)
    try:
        world.up()
        with world.client() as client:
            load = Load(client.project(), seed=SEED)
            load.begin(world.pictures(seed=1), world.pictures(seed=2))
            killer = Killer(world, seed=SEED)
            killer.start()
            deadline = time.monotonic() + MINUTES * 60
            try:
                while time.monotonic() < deadline:
                    load.keep_busy()
            finally:
                killer.stop()
            load.finish()
            load.check(killer)
            _check_notices(world, load)
        kills = {program.name: program.kills for program in world.programs.values()}
        print(
            f"\n{MINUTES:g} minutes, seed {SEED}: {len(load.tasks)} tasks, killed {kills}, "
            f"{len(killer.shot)} programs and {len(killer.orphaned)} shims; ends: {load.ends()}"
        )
    finally:
        world.down()


class Load:
    """Keeps some trainings going, cancels a few, and knows how each must end."""

    def __init__(self, project: Any, *, seed: int) -> None:
        self._project = project
        self._random = random.Random(seed + 1)
        self.tasks: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self._open: list[Any] = []
        self._data: tuple[Any, Any] | None = None

    def begin(self, train: Path, val: Path) -> None:
        """Makes the datasets to train on."""
        datasets = self._project.datasets
        tasks = [datasets.import_from(path, to=path.stem, unknown_classes="add") for path in (train, val)]
        self._data = (tasks[0].result(), tasks[1].result())

    def keep_busy(self) -> None:
        """Submits what is missing and looks after the rest."""
        while len(self._open) < IN_FLIGHT:
            self._submit()
        for task in list(self._open):
            if task.refresh().over:
                self._open.remove(task)
            elif self._random.random() < 0.003:
                self.cancelled.add(task.id)
                try:
                    task.cancel()
                except LodeError as error:
                    print(f"{task.id} is not cancelled: {error}")
        time.sleep(0.1)

    def _submit(self) -> None:
        assert self._data is not None
        lines = self._random.randint(20, 300)
        train, val = self._data
        task = self._project.models.train(train=train, val=val, name=f"m{len(self.tasks)}", settings={"epochs": lines})
        self.tasks[task.id], self.lines[task.id] = task, lines
        self._open.append(task)

    def finish(self) -> None:
        """Waits for all of them."""
        eventually(lambda: all(task.refresh().over for task in self._open), timeout_s=900, what="the end of every task")

    def ends(self) -> dict[str, int]:
        """Counts how the tasks ended."""
        names = [NAMES[task.data.state] for task in self.tasks.values()]
        return {name: names.count(name) for name in sorted(set(names))}

    def check(self, killer: Killer) -> None:
        """Compares every end and every log with what must be."""
        wrong = []
        for task_id, task in self.tasks.items():
            state = task.refresh().data.state
            expected, log = said(self.lines[task_id]), b"".join(task.log())
            if state == task_pb2.TASK_STATE_SUCCEEDED:
                if log != expected:
                    wrong.append(f"the log of {task_id} has {len(log)} bytes and not {len(expected)}")
            elif not expected.startswith(log):
                wrong.append(f"the log of {task_id} is not what was said: {log[-200:]!r}")
            if state == task_pb2.TASK_STATE_CANCELLED and task_id not in self.cancelled:
                wrong.append(f"{task_id} was cancelled by nobody")
            if state == task_pb2.TASK_STATE_FAILED and task_id not in killer.shot | killer.orphaned:
                wrong.append(f"{task_id} failed: {task.data.failure}")
        for number, task in enumerate(self.tasks.values()):
            ready = self._is_ready(f"m{number}@1")
            if ready != (task.data.state == task_pb2.TASK_STATE_SUCCEEDED):
                wrong.append(f"task {task.id} is {NAMES[task.data.state]} and its model is ready: {ready}")
        assert not wrong, "\n".join(wrong)

    def _is_ready(self, name: str) -> bool:
        try:
            return bool(self._project.models.get(name).data.state == model_pb2.MODEL_STATE_READY)
        except LodeError:
            return False


def _check_notices(world: ChaosInstallation, load: Load) -> None:
    audited, noticed, states = world.told()
    expected = {(task_id, f"task.{state}"): 1 for task_id, state in states.items()}
    assert dict(audited) == expected
    assert dict(noticed) == expected
    assert {states[task_id] for task_id in load.tasks} <= set(NAMES.values())
