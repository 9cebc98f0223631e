"""When a cron expression fires, in a time zone that moves its clocks.

The five fields mean what POSIX says: minute, hour, day of month, month, day of week (0 and 7 = Sunday); where both days
are restricted, either suffices. When clocks are put forward, a time that does not exist fires as if they had not been;
when they are put back, a time that comes twice fires the first time only. A schedule whose hour field begins with ``*``
follows real time instead: nothing is made up for, and both hours count.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lodeworks_controller.errors import InvalidError

_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?P<range>\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_LOOKED_THROUGH_DAYS = 366 * 9
"""29 February is at most eight years away."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression that was read, in its time zone."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """True when a day of month or a day of week suffices, as both are restricted."""
    real_time: bool
    """True when it follows real time over a change of the clocks."""
    zone: ZoneInfo

    @staticmethod
    def read(expression: str, *, time_zone: str) -> "Cron":
        """Reads an expression; raises InvalidError CRON_INVALID, TIME_ZONE_UNKNOWN."""
        fields = _SHORT.get(expression.strip().lower(), expression).split()
        if len(fields) != len(_FIELDS):
            raise InvalidError(
                "CRON_INVALID",
                f"{expression!r} has {len(fields)} fields; write minute, hour, day of month, month, day of week, "
                "such as '30 2 * * 1-5'",
                field="cron",
            )
        minutes, hours, days, months, weekdays = (
            _values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)
        )
        return Cron(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
            real_time=fields[1].startswith("*"),
            zone=_zone(time_zone),
        )

    def fires(self, after: datetime) -> Iterator[datetime]:
        """Yields the moments after the given one, in order, in UTC; ends where there is none for nine years."""
        first = after.astimezone(self.zone).date() - timedelta(days=1)
        last = after
        for number in range(_LOOKED_THROUGH_DAYS):
            day = first + timedelta(days=number)
            if not self._matches(day):
                continue
            for moment in self._moments(day):
                if moment > last:
                    last = moment
                    yield moment

    def next(self, after: datetime) -> datetime | None:
        """Returns the first moment after the given one; None where there is none for nine years."""
        return next(self.fires(after), None)

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    def _moments(self, day: date) -> list[datetime]:
        found = set[datetime]()
        for hour in self.hours:
            for minute in self.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                moment = wall.astimezone(UTC)
                if not self.real_time:
                    found.add(moment)
                elif moment.astimezone(self.zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
                    found |= {moment, wall.replace(fold=1).astimezone(UTC)}
        return sorted(found)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidError(
            "TIME_ZONE_UNKNOWN", f"there is no time zone {name!r}; name one such as Europe/Berlin", field="time_zone"
        ) from None


def _values(text: str, name: str, least: int, most: int) -> frozenset[int]:
    found = set[int]()
    for part in text.split(","):
        match = _PART.fullmatch(part.lower())
        if match is None:
            raise _wrong(part, name, least, most)
        first, last = least, most if name != "day of week" else 6
        if match["first"]:
            first = _number(match["first"], name)
            last = _number(match["last"], name) if match["last"] else (last if match["step"] else first)
        step = int(match["step"] or 1)
        if not least <= first <= last <= most or step < 1:
            raise _wrong(part, name, least, most)
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, name: str) -> int:
    names = {"month": _MONTHS, "day of week": _DAYS}.get(name, ())
    if text in names:
        return names.index(text) + (name == "month")
    return int(text) if text.isdecimal() else -1


def _wrong(part: str, name: str, least: int, most: int) -> InvalidError:
    return InvalidError(
        "CRON_INVALID",
        f"{part!r} is no {name}; use {least} to {most}, ranges such as {least}-{least + 4}, lists, * and steps such as "
        "*/5",
        field="cron",
    )
