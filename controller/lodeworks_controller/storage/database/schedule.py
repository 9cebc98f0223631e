"""Schedules and their fires in SQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    or_,
    select,
    update,
)

from lodeworks_controller.domain.schedule import Fire, FireState, Misfire, Schedule
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, metadata
from lodeworks_controller.storage.database.upsert import insert_new

schedules = Table(
    "schedules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", String(64), nullable=False),
    Column("cron", String(200), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("misfire", String(8), nullable=False),
    Column("method", String(40), nullable=False),
    Column("request", Text, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("next_at", Instant),
    UniqueConstraint("project_id", "name"),
    Index(None, "next_at"),
)

fires = Table(
    "schedule_fires",
    metadata,
    Column("schedule_id", Id, ForeignKey("schedules.id"), nullable=False),
    Column("fire_at", Instant, nullable=False),
    Column("state", String(8), nullable=False),
    Column("task_id", String(26), nullable=False),
    Column("message", Text, nullable=False),
    Column("ended_at", Instant),
    PrimaryKeyConstraint("schedule_id", "fire_at"),
    Index(None, "state"),
)


class SqlScheduleRows:
    """The schedules on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, schedule: Schedule) -> None:
        """Stores a new schedule."""
        await self._connection.execute(insert(schedules), _values(schedule))

    async def find(self, project_id: str, name_or_id: str) -> Schedule | None:
        """Returns the schedule of that name or id in a project."""
        named = or_(schedules.c.name == name_or_id, schedules.c.id == name_or_id)
        query = select(schedules).where(schedules.c.project_id == project_id, named)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_schedule(row)

    async def get(self, schedule_id: str) -> Schedule | None:
        """Returns a schedule; None when it was removed."""
        query = select(schedules).where(schedules.c.id == schedule_id)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_schedule(row)

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Schedule]:
        """Returns the schedules of a project by name."""
        query = (
            select(schedules)
            .where(schedules.c.project_id == project_id, schedules.c.name > after_name)
            .order_by(schedules.c.name)
            .limit(limit)
        )
        return [_to_schedule(row) for row in (await self._connection.execute(query)).mappings()]

    async def due(self, *, now: datetime, limit: int) -> Sequence[Schedule]:
        """Returns schedules whose time has come."""
        query = select(schedules).where(schedules.c.next_at <= now).order_by(schedules.c.next_at).limit(limit)
        return [_to_schedule(row) for row in (await self._connection.execute(query)).mappings()]

    async def swap(self, old: Schedule, new: Schedule) -> bool:
        """Stores how a schedule stands if it still stands as the old one; says whether it did."""
        mine = update(schedules).where(schedules.c.id == old.id, schedules.c.next_at.is_not_distinct_from(old.next_at))
        return bool((await self._connection.execute(mine.values(_values(new)))).rowcount)

    async def delete(self, schedule_id: str) -> None:
        """Removes a schedule with its fires."""
        await self._connection.execute(delete(fires).where(fires.c.schedule_id == schedule_id))
        await self._connection.execute(delete(schedules).where(schedules.c.id == schedule_id))

    async def add_fire(self, fire: Fire) -> bool:
        """Stores a fire if nobody did; says whether it did."""
        return bool((await self._connection.execute(insert_new(fires), _fire_values(fire))).rowcount)

    async def put_fire(self, fire: Fire) -> bool:
        """Stores how a fire went if it was still due; says whether it was."""
        mine = update(fires).where(
            fires.c.schedule_id == fire.schedule_id,
            fires.c.fire_at == fire.fire_at,
            fires.c.state == FireState.DUE.value,
        )
        return bool((await self._connection.execute(mine.values(_fire_values(fire)))).rowcount)

    async def fires_due(self, *, limit: int) -> Sequence[Fire]:
        """Returns fires whose task is still to be made, oldest first."""
        query = select(fires).where(fires.c.state == FireState.DUE.value).order_by(fires.c.fire_at).limit(limit)
        return [_to_fire(row) for row in (await self._connection.execute(query)).mappings()]

    async def fires(self, schedule_id: str, *, before: datetime | None, limit: int) -> Sequence[Fire]:
        """Returns the fires of a schedule, newest first."""
        query = select(fires).where(fires.c.schedule_id == schedule_id).order_by(fires.c.fire_at.desc()).limit(limit)
        if before is not None:
            query = query.where(fires.c.fire_at < before)
        return [_to_fire(row) for row in (await self._connection.execute(query)).mappings()]

    async def prune(self, *, before: datetime) -> int:
        """Removes fires that ended before the moment; returns how many."""
        return (await self._connection.execute(delete(fires).where(fires.c.ended_at < before))).rowcount


def _values(schedule: Schedule) -> dict[str, Any]:
    return {column.name: getattr(schedule, column.name) for column in schedules.c} | {"misfire": schedule.misfire.value}


def _fire_values(fire: Fire) -> dict[str, Any]:
    return {column.name: getattr(fire, column.name) for column in fires.c} | {"state": fire.state.value}


def _to_schedule(row: Any) -> Schedule:
    return Schedule(**{**row, "misfire": Misfire(row["misfire"])})


def _to_fire(row: Any) -> Fire:
    return Fire(**{**row, "state": FireState(row["state"])})
