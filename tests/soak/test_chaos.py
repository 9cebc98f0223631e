"""kill -9 of controllers, workers, shims, programs, containers at random, under load: every task ends as it should.

LODE_CHAOS is how many minutes of killing (10), LODE_SOAK_SHARE the share of them, LODE_SOAK_SEED chooses whom.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import docker
import pytest
from chaos_docker import ContainerInstallation, why_no_docker
from chaos_installation import ChaosInstallation
from chaos_killer import Killer
from chaos_lines import said
from chaos_records import broken, unsettled
from local_installation import eventually
from lodeworks.api.task.v1 import task_pb2
from lodeworks.errors import LodeError
from soak_share import SEED, SHARE

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = max(0.5, float(os.environ.get("LODE_CHAOS", "10")) * SHARE)
MUTANT_MINUTES = 0.5
NOTICED = {
    "a_log_that_repeats_itself": r"the log of \w+ ",
    "an_end_that_is_not_told": "the outbox and what happened differ",
}
IN_FLIGHT = 8
NAMES = {
    task_pb2.TASK_STATE_SUCCEEDED: "succeeded",
    task_pb2.TASK_STATE_FAILED: "failed",
    task_pb2.TASK_STATE_CANCELLED: "cancelled",
}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kills_on_sqlite(tmp_path: Path):
    _exercise(ChaosInstallation(tmp_path), minutes=MINUTES)


@pytest.mark.soak
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_kills_on_postgresql_with_two_controllers(tmp_path: Path, postgres_url: str):
    _exercise(ChaosInstallation(tmp_path, database=postgres_url, controllers=2), minutes=MINUTES)


@pytest.mark.soak
@pytest.mark.docker
@pytest.mark.timeout(3600)
def test_kills_of_containers(tmp_path: Path):
    why_not = why_no_docker()
    if why_not:
        pytest.skip(why_not)
    engine = docker.from_env(timeout=60)
    try:
        _exercise(ContainerInstallation(tmp_path, engine=engine), minutes=MINUTES)
    finally:
        engine.close()


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutant", ["a_log_that_repeats_itself", "an_end_that_is_not_told"])
def test_a_broken_fence_is_noticed(tmp_path: Path, mutant: str):
    """The same with a mistake put in: else nobody would know that these checks notice anything."""
    with pytest.raises(AssertionError, match=NOTICED[mutant]):
        _exercise(ChaosInstallation(tmp_path, mutant=mutant), minutes=MUTANT_MINUTES)


def _exercise(world: ChaosInstallation, *, minutes: float) -> None:
    world.folder.chmod(0o755)
    try:
        world.up()
        with world.client() as client:
            load = Load(client.project(), seed=SEED, executor=world.executor)
            load.begin(world.pictures(seed=1), world.pictures(seed=2))
            killer = Killer(world, seed=SEED)
            killer.start()
            deadline = time.monotonic() + minutes * 60
            try:
                while time.monotonic() < deadline:
                    load.keep_busy()
            finally:
                killer.stop()
            load.finish()
            kills = {program.name: program.kills for program in world.programs.values()}
            print(
                f"\n{minutes:g} minutes, seed {SEED}: {len(load.tasks)} tasks, killed {kills}, "
                f"{len(killer.shot)} programs, {len(killer.orphaned)} shims or containers; ends: {load.ends()}"
            )
            eventually(lambda: not unsettled(world.rows), timeout_s=60, what="the end of what roles do")
            wrong = load.wrong(killer) + broken(world.rows)
            assert not wrong, "\n".join(wrong)
            eventually(lambda: not world.left_behind(), timeout_s=60, what="that nothing is left of the runs")
    finally:
        world.down()


class Load:
    """Keeps some trainings going, cancels a few, and knows how each must end."""

    def __init__(self, project: Any, *, seed: int, executor: str = "") -> None:
        self._project = project
        self._executor = executor
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
        task = self._project.models.train(
            train=train,
            val=val,
            name=f"m{len(self.tasks)}",
            executor=self._executor,
            settings={"epochs": lines},
        )
        self.tasks[task.id], self.lines[task.id] = task, lines
        self._open.append(task)

    def finish(self) -> None:
        """Waits for all of them."""
        eventually(lambda: all(task.refresh().over for task in self._open), timeout_s=900, what="the end of every task")

    def ends(self) -> dict[str, int]:
        """Counts how the tasks ended."""
        names = [NAMES[task.data.state] for task in self.tasks.values()]
        return {name: names.count(name) for name in sorted(set(names))}

    def wrong(self, killer: Killer) -> list[str]:
        """Returns which ends and which logs are not what they must be."""
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
                wrong.append(f"{task_id} failed: {task.data.error} {task.data.log_tail}")
        return wrong + self._made_twice()

    def _made_twice(self) -> list[str]:
        """Each wish made one version, however often it was sent."""
        names = Counter(task.title for task in self._project.tasks.list(kinds=["train"]))
        wished = {f"train m{number}@1" for number in range(len(self.tasks))}
        return [f"{title} was made {count} times" for title, count in names.items() if title not in wished or count > 1]
