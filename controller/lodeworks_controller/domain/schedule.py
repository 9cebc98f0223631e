"""Schedules: what is carried out at which moments, and what becomes of moments that nobody was there for."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from lodeworks_controller.domain.cron import Cron

GRACE = timedelta(seconds=60)
"""A fire that is not later than this was not missed."""

MOST_MADE_UP = 100

_LOOKED_BACK = timedelta(days=31)


class Misfire(Enum):
    """What to do about fires that nobody was there for."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class FireState(Enum):
    """How a fire went."""

    DUE = "due"
    MADE = "made"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Fire:
    """One moment at which a schedule fired.

    Attributes:
        schedule_id: Which schedule.
        fire_at: The moment that the schedule named; with the schedule it identifies the fire.
        state: How it went.
        task_id: The task that it made.
        message: Why it was refused or left out.
        ended_at: When it was carried out.
    """

    schedule_id: str
    fire_at: datetime
    state: FireState = FireState.DUE
    task_id: str = ""
    message: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A request that is carried out at certain times.

    Attributes:
        id: Identifies it for ever.
        project_id: Its project.
        name: Unique in its project.
        cron: When.
        time_zone: Where: an IANA name.
        misfire: What to do about missed fires.
        method: What is carried out: ``model.train``.
        request: Its request as JSON.
        created_by: Id of the user in whose name.
        created_at: When it was made.
        paused: True when it does not fire.
        next_at: When it fires next; None when paused, or never again.
    """

    id: str
    project_id: str
    name: str
    cron: str
    time_zone: str
    misfire: Misfire
    method: str
    request: str
    created_by: str
    created_at: datetime
    paused: bool = False
    next_at: datetime | None = None

    def resumed(self, *, at: datetime) -> "Schedule":
        """Returns it firing from now on; what it missed meanwhile is not made up for."""
        return replace(self, paused=False, next_at=Cron.read(self.cron, time_zone=self.time_zone).next(at))

    def stopped(self) -> "Schedule":
        """Returns it not firing."""
        return replace(self, paused=True, next_at=None)

    def fire(self, *, at: datetime) -> tuple["Schedule", Sequence[Fire]]:
        """Returns it as it stands after the moment, and the fires up to it, oldest first."""
        cron = Cron.read(self.cron, time_zone=self.time_zone)
        if self.next_at is None or self.next_at > at:
            return self, ()
        moments = deque[datetime](maxlen=MOST_MADE_UP)
        begin = max(self.next_at, at - _LOOKED_BACK) - timedelta(microseconds=1)
        following: datetime | None = None
        for moment in cron.fires(begin):
            if moment > at:
                following = moment
                break
            moments.append(moment)
        fresh = [moment for moment in moments if at - moment <= GRACE]
        chosen = {
            Misfire.SKIP: fresh,
            Misfire.ONCE: fresh or list(moments)[-1:],
            Misfire.ALL: list(moments),
        }[self.misfire]
        fires = [
            Fire(self.id, moment)
            if moment in chosen
            else Fire(self.id, moment, FireState.SKIPPED, message="nobody was there", ended_at=at)
            for moment in moments
        ]
        return replace(self, next_at=following), fires
