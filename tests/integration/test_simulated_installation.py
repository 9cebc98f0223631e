"""The simulated installation: the same seed is the same history, and what random schedules once broke stays whole."""

from __future__ import annotations

import pytest
from fault_runner import play_seeds, scratch
from fault_schedule import Event, Schedule, made, play
from simulated_installation import Plan, Wish
from simulated_network import Weather


@pytest.fixture(scope="module")
def folder():
    with scratch() as made_folder:
        yield made_folder / "installation"


def played(folder, *events: Event, **plan: int):
    told = play(Schedule(1, Plan(**plan), events), folder)
    assert not told.broken, told.story()
    return told


def test_the_same_seed_is_the_same_history(folder):
    for seed in (3, 8, 5):
        first, second = play(made(seed), folder), play(made(seed), folder)
        assert first.trace == second.trace


def test_a_calm_installation_starts_each_task_once(folder):
    wishes = [Event(0.0, "submit", f"t{number}", more=Wish(f"t{number}", gpus=number % 2)) for number in range(5)]
    told = played(folder, *wishes)
    assert sum(" starts 0" in what for _, what in told.trace) == 5


@pytest.mark.parametrize("first", [0, 20, 40, 60])
def test_random_schedules_break_nothing(first):
    stories = play_seeds(first, 20)
    assert not stories, "\n\n".join(("", *stories))


def test_a_retry_of_a_child_whose_parent_failed_is_refused_rather_than_blocked_for_ever(folder):
    told = played(
        folder,
        Event(0.0, "submit", "t0", more=Wish("t0", exits=(3,))),
        Event(0.1, "submit", "t1", more=Wish("t1", parents=("t0",))),
        Event(8.0, "retry", "t1"),
    )
    assert any("retry that one first" in what for _, what in told.trace)


def test_a_grant_that_is_on_its_way_twice_starts_one_run(folder):
    slow = Weather(delay=0.9, delay_s=2.0, methods=frozenset({"Report"}))
    played(
        folder,
        Event(0.0, "weather", "network", 19.0, slow),
        *(Event(number / 5, "submit", f"t{number}", more=Wish(f"t{number}", run_for_s=1.0)) for number in range(6)),
        machines=1,
        max_runs=3,
    )


def test_two_controllers_take_each_others_place(folder):
    told = played(
        folder,
        *(Event(number / 10, "submit", f"t{number}", more=Wish(f"t{number}", run_for_s=6.0)) for number in range(4)),
        Event(2.0, "kill", "c0", 18.0),
        controllers=2,
    )
    assert sum(" starts 0" in what for _, what in told.trace) == 4, "a run was begun again"


def test_a_worker_frozen_for_long_finds_its_runs_given_away(folder):
    told = played(
        folder,
        Event(0.0, "submit", "t0", more=Wish("t0", run_for_s=4.0, gpus=1)),
        Event(1.0, "freeze", "m0", 18.0),
        Event(1.0, "freeze", "m1", 2.0),
    )
    assert told.trace


def test_two_workers_with_one_identity_end_with_one_outcome(folder):
    played(
        folder,
        *(Event(number / 2, "submit", f"t{number}", more=Wish(f"t{number}", run_for_s=3.0)) for number in range(4)),
        Event(1.0, "rival", "m0", 12.0),
        Event(2.0, "freeze", "m0", 4.0),
    )


def test_a_gpu_of_a_run_that_was_given_up_is_not_given_out_while_it_lives(folder):
    """The worker is away for longer than its lease, and its run goes on; back, it is asked to run what came since."""
    away = Event(1.0, "wall", "m0", 16.0, "c0")
    deaf = Weather(drop=0.95, methods=frozenset({"Report"}))
    for seed in range(1, 7):
        events = (
            Event(0.0, "submit", "t0", more=Wish("t0", run_for_s=19.5, gpus=1, lost_after_s=0.5)),
            away,
            Event(2.0, "submit", "t1", more=Wish("t1", run_for_s=1.0, gpus=1)),
            Event(2.0, "weather", "network", 17.5, deaf),
        )
        told = play(Schedule(seed, Plan(machines=1, max_runs=2), events), folder)
        assert not told.broken, told.story()


def test_a_run_that_comes_back_gets_no_other_gpus_than_its_own(folder):
    events = (
        Event(0.0, "submit", "t0", more=Wish("t0", run_for_s=0.5, lines=0, gpus=1, lost_after_s=3.0)),
        Event(0.0, "submit", "t1", more=Wish("t1", run_for_s=2.0, lines=0, gpus=1, priority=5, user_retries=1)),
        Event(1.73, "rival", "m0", 0.7),
    )
    for seed in (12184, 1, 2, 3):
        told = play(Schedule(seed, Plan(machines=1, gpus=2, max_runs=1), events), folder)
        assert not told.broken, told.story()
