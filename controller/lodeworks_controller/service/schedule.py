"""Schedules, as people administer them, and what happens when they fire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.schedule import Fire, Schedule


class ScheduleRows(Protocol):
    """The schedules and their fires as one transaction sees them. No method commits."""

    async def insert(self, schedule: Schedule) -> None:
        """Stores a new schedule."""
        ...

    async def find(self, project_id: str, name_or_id: str) -> Schedule | None:
        """Returns the schedule of that name or id in a project."""
        ...

    async def get(self, schedule_id: str) -> Schedule | None:
        """Returns a schedule; None when it was removed."""
        ...

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Schedule]:
        """Returns the schedules of a project by name."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[Schedule]:
        """Returns schedules whose time has come."""
        ...

    async def swap(self, old: Schedule, new: Schedule) -> bool:
        """Stores how a schedule stands if it still stands as the old one; says whether it did."""
        ...

    async def delete(self, schedule_id: str) -> None:
        """Removes a schedule with its fires."""
        ...

    async def add_fire(self, fire: Fire) -> bool:
        """Stores a fire if nobody did; says whether it did."""
        ...

    async def put_fire(self, fire: Fire) -> bool:
        """Stores how a fire went if it was still due; says whether it was."""
        ...

    async def fires_due(self, *, limit: int) -> Sequence[Fire]:
        """Returns fires whose task is still to be made, oldest first."""
        ...

    async def fires(self, schedule_id: str, *, before: datetime | None, limit: int) -> Sequence[Fire]:
        """Returns the fires of a schedule, newest first."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Removes fires that ended before the moment; returns how many."""
        ...
