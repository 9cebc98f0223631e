"""Cron expressions: what POSIX says, and what happens when clocks are put forward or back."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some
from lodeworks_controller.domain.cron import Cron
from lodeworks_controller.errors import InvalidError

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(expression: str, after: str, count: int, *, zone: str = "UTC") -> list[str]:
    cron = Cron.read(expression, time_zone=zone)
    return [moment.strftime("%Y-%m-%dT%H:%M") for moment in islice(cron.fires(at(after)), count)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 * * * *", ["2026-11-22T12:20", "2026-11-22T12:40", "2026-11-22T13:00"]),
        ("0 0 * * 0", ["2026-11-29T00:00", "2026-12-06T00:00", "2026-12-13T00:00"]),
        ("0 0 * * 7", ["2026-11-29T00:00", "2026-12-06T00:00", "2026-12-13T00:00"]),
        ("0 9-17/4 * * mon-fri", ["2026-11-23T09:00", "2026-11-23T13:00", "2026-11-23T17:00"]),
        ("15,45 3 1 jan,jul *", ["2027-01-01T03:15", "2027-01-01T03:45", "2027-07-01T03:15"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 13 * 5", ["2026-11-27T00:00", "2026-12-04T00:00", "2026-12-11T00:00"]),
        ("@daily", ["2026-11-23T00:00", "2026-11-24T00:00", "2026-11-25T00:00"]),
    ],
)
def test_the_fields_mean_what_posix_says(expression, expected):
    assert fires(expression, "2026-11-22T12:00", len(expected)) == expected


def test_a_day_that_never_comes_has_no_next():
    assert Cron.read("0 0 31 2 *", time_zone="UTC").next(at("2026-01-01")) is None


def test_a_time_that_does_not_exist_fires_as_if_clocks_had_not_been_put_forward():
    # On 29 March 2026 Berlin goes from 02:00 to 03:00.
    assert fires("30 2 * * *", "2026-03-27T12:00", 3, zone="Europe/Berlin") == [
        "2026-03-28T01:30",
        "2026-03-29T01:30",
        "2026-03-30T00:30",
    ]


def test_a_time_that_comes_twice_fires_once():
    # On 25 October 2026 Berlin goes from 03:00 to 02:00.
    assert fires("30 2 * * *", "2026-10-23T12:00", 3, zone="Europe/Berlin") == [
        "2026-10-24T00:30",
        "2026-10-25T00:30",
        "2026-10-26T01:30",
    ]


def test_every_hour_means_real_hours_over_both_changes():
    for day in ("2026-03-28T22:30", "2026-10-24T22:30"):
        moments = list(islice(Cron.read("0 * * * *", time_zone="Europe/Berlin").fires(at(day)), 6))
        assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(hours=1)}


def test_midnight_that_does_not_exist_is_made_up_for():
    # Cairo goes from 00:00 to 01:00 on 24 April 2026.
    assert fires("0 0 24 4 *", "2026-04-01T00:00", 1, zone="Africa/Cairo") == ["2026-04-23T22:00"]


@given(
    some.integers(0, 59),
    some.integers(0, 23),
    some.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 (as hypothesis wants them)
    some.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
)
def test_a_daily_time_fires_once_a_day_whatever_the_clocks_do(minute, hour, begin, zone):
    cron = Cron.read(f"{minute} {hour} * * *", time_zone=zone)
    moments = list(islice(cron.fires(begin.replace(tzinfo=UTC)), 5))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert all(timedelta(hours=22) < gap < timedelta(hours=26) for gap in gaps)
    days = {moment.astimezone(ZoneInfo(zone)).date() for moment in moments}
    assert len(days) >= 4  # a time shifted over midnight may share a day


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "@never",
    ],
)
def test_what_is_no_expression_is_refused_with_what_is(expression):
    with pytest.raises(InvalidError) as refused:
        Cron.read(expression, time_zone="UTC")
    assert refused.value.reason == "CRON_INVALID"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "/etc/passwd"])
def test_a_zone_that_is_none_is_refused(zone):
    with pytest.raises(InvalidError) as refused:
        Cron.read("* * * * *", time_zone=zone)
    assert refused.value.reason == "TIME_ZONE_UNKNOWN"
