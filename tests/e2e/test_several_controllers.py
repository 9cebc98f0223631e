"""Two controllers on one PostgreSQL: the end of one, by kill -9, stops nobody."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from local_installation import eventually
from lodeworks.api.task.v1 import task_pb2
from several_controllers import SeveralControllers

PROGRAM = Path(__file__).parents[1] / "world" / "counting_executor.py"
LINES = 600
pytestmark = pytest.mark.long


@pytest.fixture
def world(tmp_path: Path, postgres_url: str):
    made = SeveralControllers(tmp_path, postgres_url)
    made.init()
    for name in made.names:
        made.start(name)
    made.start_worker("box", program=PROGRAM)
    yield made
    made.down()


def _dataset(project: Any, name: str, *, seed: int) -> Any:
    return project.datasets.generate(to=name, count=6, seed=seed).result()


def _lines(task: Any) -> list[str]:
    return b"".join(task.log()).decode().splitlines()


@pytest.mark.postgres
@pytest.mark.timeout(420)
def test_the_end_of_either_controller_stops_nobody(world: SeveralControllers) -> None:
    with world.client() as client:
        project = client.project()
        train, val = _dataset(project, "train", seed=1), _dataset(project, "val", seed=2)
        project.schedules.add(
            "each-minute", cron="* * * * *", what=lambda noting: noting.datasets.generate(to="made", count=2)
        )
        trainings = [
            project.models.train(train=train, val=val, name=f"m{number}", settings={"epochs": LINES})
            for number in range(2)
        ]
        eventually(lambda: all(len(_lines(one)) > 10 for one in trainings), timeout_s=60, what="runs under way")

        first = world.holders()["placer"]
        other = next(name for name in world.names if name != first)
        world.kill(first)
        killed = time.monotonic()
        # A client's next call goes to the other one, and a new task is planned, run and finished by it.
        assert _dataset(project, "after", seed=3).data.picture_count == 6
        print(f"\na task made, run and finished {time.monotonic() - killed:.1f} s after the kill")
        eventually(lambda: world.holders()["finisher"] == other, timeout_s=15, what="the roles to be handed over")

        world.start(first)
        world.kill(other)
        for training in trainings:
            training.wait()
            _check_whole(training)
        assert _dataset(project, "last", seed=4).data.picture_count == 6
        _check_schedule(project)


def _check_whole(training: Any) -> None:
    """It ran once, and every line and every value of it arrived once and in order."""
    assert training.data.state == task_pb2.TASK_STATE_SUCCEEDED, training.data
    assert training.data.attempt == 1, "the run was started again instead of going on"
    said = [line for line in _lines(training) if line.startswith("line ")]
    assert said == [f"line {number} of {LINES}" for number in range(LINES)]


def _check_schedule(project: Any) -> None:
    """Each fire is of another minute and made one task."""
    eventually(lambda: len(list(project.schedules.fires("each-minute"))) >= 2, timeout_s=130, what="two fires")
    fires = list(project.schedules.fires("each-minute"))
    times = Counter(fire.fire_time.ToMicroseconds() for fire in fires)
    assert set(times.values()) == {1}
    made = [fire.task_id for fire in fires if fire.task_id]
    assert len(made) == len(set(made))


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_a_controller_that_stops_in_good_order_hands_its_roles_over_at_once(world: SeveralControllers) -> None:
    first = world.holders()["placer"]
    other = next(name for name in world.names if name != first)
    # Who logs in to one controller is told of all.
    world.run("lode", "login", world.server.split(",")[0], *world.credentials(), "--name", "lab")
    assert world.stop(first) == 0
    assert "local" in world.run("lode", "whoami")
    eventually(lambda: world.holders()["placer"] == other, timeout_s=5, what="the roles to be handed over")
    with world.client() as client:
        assert _dataset(client.project(), "after", seed=1).data.picture_count == 6
