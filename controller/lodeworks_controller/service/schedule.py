"""Schedules, as people administer them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.cron import Cron
from lodeworks_controller.domain.identity import Principal, ProjectRole, check_name
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.schedule import Fire, Misfire, Schedule
from lodeworks_controller.errors import ExistsError, InvalidError, NotFoundError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction


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


Make = Callable[[Principal, str, str], Awaitable[str]]
"""Carries out a stored request, given as JSON, for a person under a request id; returns the task's id."""


@dataclass(frozen=True, slots=True)
class Method:
    """Something that a schedule can carry out.

    Attributes:
        check: Returns the request of a project as it is stored, from the JSON that came; refuses what is none.
        make: Carries it out.
    """

    check: Callable[[str, str], str]
    make: Make


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule with its latest fire."""

    schedule: Schedule
    latest: Fire | None


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What a person asks for."""

    name: str
    cron: str
    time_zone: str
    misfire: Misfire
    method: str
    request: str


class ScheduleService:
    """Makes, shows, pauses and removes schedules.

    Args:
        store: The database.
        methods: What can be scheduled, by name.
        ids: Names for what is made.
    """

    def __init__(self, store: Store, *, methods: Mapping[str, Method], ids: Ids) -> None:
        self._store = store
        self._methods = methods
        self._ids = ids

    async def create(
        self, principal: Principal, project: str, wish: NewSchedule, *, request_id: str = ""
    ) -> ScheduleView:
        """Makes a schedule that fires from now on."""
        once = Once(principal.actor, "schedule.create", request_id)
        check_name(wish.name)
        Cron.read(wish.cron, time_zone=wish.time_zone)
        method = self._methods.get(wish.method)
        if method is None:
            there = ", ".join(sorted(self._methods))
            raise InvalidError(
                "SCHEDULE_REQUEST", f"{wish.method!r} cannot be scheduled; these can: {there}", field="method"
            )
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            made = await once.result(tx)
            if made is not None:
                return await _view(tx, await _known(tx, project_id, made))
            if await tx.schedules.find(project_id, wish.name) is not None:
                raise ExistsError(
                    "SCHEDULE_EXISTS", f"there is a schedule {wish.name} already; choose another name", name=wish.name
                )
            schedule = Schedule(
                id=self._ids(),
                project_id=project_id,
                name=wish.name,
                cron=wish.cron,
                time_zone=wish.time_zone,
                misfire=wish.misfire,
                method=wish.method,
                request=method.check(project_id, wish.request),
                created_by=principal.user_id,
                created_at=tx.now(),
            ).resumed(at=tx.now())
            await tx.schedules.insert(schedule)
            await once.keep(tx, schedule.id)
            detail = {"name": wish.name, "cron": wish.cron, "time_zone": wish.time_zone, "method": wish.method}
            await tx.audit.add(
                "schedule.create", schedule.id, actor=principal.actor, project_id=project_id, detail=detail
            )
            return ScheduleView(schedule, None)

    async def get(self, principal: Principal, project: str, name_or_id: str) -> ScheduleView:
        """Returns a schedule."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            return await _view(tx, await _known(tx, project_id, name_or_id))

    async def list(
        self, principal: Principal, project: str, *, after_name: str = "", limit: int = 100
    ) -> Sequence[ScheduleView]:
        """Returns the schedules of a project by name."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            found = await tx.schedules.list(project_id, after_name=after_name, limit=limit)
            return [await _view(tx, schedule) for schedule in found]

    async def pause(self, principal: Principal, project: str, name_or_id: str) -> ScheduleView:
        """Stops a schedule from firing."""
        return await self._change(principal, project, name_or_id, paused=True)

    async def resume(self, principal: Principal, project: str, name_or_id: str) -> ScheduleView:
        """Lets a schedule fire again from now on."""
        return await self._change(principal, project, name_or_id, paused=False)

    async def delete(self, principal: Principal, project: str, name_or_id: str, *, request_id: str = "") -> None:
        """Removes a schedule; what it made stays."""
        once = Once(principal.actor, "schedule.delete", request_id)
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            if await once.result(tx) is not None:
                return
            schedule = await _known(tx, project_id, name_or_id)
            await tx.schedules.delete(schedule.id)
            await once.keep(tx, schedule.id)
            await tx.audit.add(
                "schedule.delete",
                schedule.id,
                actor=principal.actor,
                project_id=project_id,
                detail={"name": schedule.name},
            )

    async def fires(
        self, principal: Principal, project: str, name_or_id: str, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Fire]:
        """Returns the fires of a schedule, newest first."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            schedule = await _known(tx, project_id, name_or_id)
            return await tx.schedules.fires(schedule.id, before=before, limit=limit)

    async def _change(self, principal: Principal, project: str, name_or_id: str, *, paused: bool) -> ScheduleView:
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            schedule = await _known(tx, project_id, name_or_id)
            if schedule.paused is not paused:
                changed = schedule.stopped() if paused else schedule.resumed(at=tx.now())
                await tx.schedules.swap(schedule, changed)
                schedule = changed
                verb = "pause" if paused else "resume"
                await tx.audit.add(f"schedule.{verb}", schedule.id, actor=principal.actor, project_id=project_id)
            return await _view(tx, schedule)


async def _known(tx: Transaction, project_id: str, name_or_id: str) -> Schedule:
    schedule = await tx.schedules.find(project_id, name_or_id)
    if schedule is None:
        raise NotFoundError("SCHEDULE_NOT_FOUND", f"there is no schedule {name_or_id!r}; see `lode schedule ls`")
    return schedule


async def _view(tx: Transaction, schedule: Schedule) -> ScheduleView:
    latest = await tx.schedules.fires(schedule.id, before=None, limit=1)
    return ScheduleView(schedule, latest[0] if latest else None)
