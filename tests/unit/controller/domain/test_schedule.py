"""Schedules: which moments fire, and what becomes of those that nobody was there for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.domain.schedule import MOST_MADE_UP, FireState, Misfire, Schedule

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def hourly(misfire: Misfire, *, made_at: datetime = NOON) -> Schedule:
    made = Schedule("s", "p", "nightly", "0 * * * *", "UTC", misfire, "model.train", "{}", "u", made_at)
    return made.resumed(at=made_at)


def fired(schedule: Schedule, at: datetime) -> tuple[list[datetime], list[datetime], datetime | None]:
    after, fires = schedule.fire(at=at)
    due = [fire.fire_at for fire in fires if fire.state is FireState.DUE]
    skipped = [fire.fire_at for fire in fires if fire.state is FireState.SKIPPED]
    return due, skipped, after.next_at


@pytest.mark.parametrize("misfire", list(Misfire))
def test_a_fire_in_time_is_no_misfire(misfire):
    due, skipped, following = fired(hourly(misfire), NOON + timedelta(hours=1, seconds=3))
    assert (due, skipped) == ([NOON + timedelta(hours=1)], [])
    assert following == NOON + timedelta(hours=2)


def test_nothing_fires_before_its_time():
    schedule = hourly(Misfire.ALL)
    assert schedule.fire(at=NOON + timedelta(minutes=59)) == (schedule, ())


@pytest.mark.parametrize(
    ("misfire", "due_hours"), [(Misfire.SKIP, []), (Misfire.ONCE, [4]), (Misfire.ALL, [1, 2, 3, 4])]
)
def test_missed_fires_follow_the_policy(misfire, due_hours):
    due, skipped, following = fired(hourly(misfire), NOON + timedelta(hours=4, minutes=30))
    assert due == [NOON + timedelta(hours=hour) for hour in due_hours]
    assert len(due) + len(skipped) == 4
    assert following == NOON + timedelta(hours=5)


def test_once_prefers_the_one_that_is_in_time():
    due, skipped, _ = fired(hourly(Misfire.ONCE), NOON + timedelta(hours=4, seconds=5))
    assert due == [NOON + timedelta(hours=4)]
    assert len(skipped) == 3


def test_a_long_absence_makes_up_for_a_hundred_at_most():
    due, _, following = fired(hourly(Misfire.ALL), NOON + timedelta(days=400))
    assert len(due) == MOST_MADE_UP
    assert due[-1] == NOON + timedelta(days=400)
    assert following == NOON + timedelta(days=400, hours=1)


def test_a_pause_is_not_made_up_for():
    paused = hourly(Misfire.ALL).stopped()
    assert paused.fire(at=NOON + timedelta(days=1)) == (paused, ())
    assert paused.resumed(at=NOON + timedelta(days=1)).next_at == NOON + timedelta(days=1, hours=1)


def test_a_schedule_that_fired_its_last_time_rests():
    once = replace(hourly(Misfire.ONCE), cron="0 0 31 2 *").resumed(at=NOON)
    assert once.next_at is None
    assert once.fire(at=NOON + timedelta(days=9)) == (once, ())
