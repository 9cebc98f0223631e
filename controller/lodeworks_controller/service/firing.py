"""Firing: what schedules name is due becomes rows, and each row becomes one task, over any number of controllers."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from lodeworks_controller.domain.clock import to_micros
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.schedule import Fire, FireState, Schedule
from lodeworks_controller.errors import LodeworksError, UnavailableError
from lodeworks_controller.service.schedule import Method
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.wake import Wakes

_log = logging.getLogger(__name__)

_BATCH: Final = 100
_PATIENCE: Final = timedelta(minutes=10)
"""How long a fire is tried again whose request fails for a reason that may pass."""


class Firing:
    """Fires schedules.

    The row (schedule, moment) is the fire: who adds it, made it happen, and nobody can add it twice. Its task is made
    under a request id that follows from the row, so a controller that dies between the two does no harm.
    """

    def __init__(self, store: Store, *, methods: Mapping[str, Method], wakes: Wakes) -> None:
        self._store = store
        self._methods = methods
        self._wakes = wakes

    async def fire_due(self) -> None:
        """Notes the fires that are due, and makes the tasks of those that were noted."""
        async with self._store.snapshot() as tx:
            due = await tx.schedules.due(now=tx.now(), limit=_BATCH)
            noted = await tx.schedules.fires_due(limit=1)
        if due:
            await self._note()
        if due or noted:
            async with self._store.snapshot() as tx:
                fires = await tx.schedules.fires_due(limit=_BATCH)
            for fire in fires:
                await self._make(fire)

    async def _note(self) -> None:
        async with self._store.transaction() as tx:
            for schedule in await tx.schedules.due(now=tx.now(), limit=_BATCH):
                after, fires = schedule.fire(at=tx.now())
                if await tx.schedules.swap(schedule, after):
                    for fire in fires:
                        await tx.schedules.add_fire(fire)

    async def _make(self, fire: Fire) -> None:
        async with self._store.snapshot() as tx:
            schedule = await tx.schedules.get(fire.schedule_id)
            user = None if schedule is None else await tx.users.get(schedule.created_by)
        if schedule is None:
            return  # removed meanwhile, its fires with it
        if user is not None and user.disabled_at is not None:
            await self._end(schedule, fire, FireState.REFUSED, message="who made the schedule has no access any more")
            return
        assert user is not None, "a schedule has a user, and users are never removed"
        principal = Principal(user.id, user.name, user.role)
        request_id = f"fire:{schedule.id}:{to_micros(fire.fire_at)}"
        try:
            task_id = await self._methods[schedule.method].make(principal, schedule.request, request_id)
        except UnavailableError as error:
            await self._later(schedule, fire, why=error.message)
        except LodeworksError as error:
            await self._end(schedule, fire, FireState.REFUSED, message=error.message)
        except Exception:  # noqa: BLE001 (one broken request must not hold up the others)
            _log.exception("schedule %s could not fire", schedule.name)
            await self._later(schedule, fire, why="a fault of the controller; its log says more")
        else:
            await self._end(schedule, fire, FireState.MADE, task_id=task_id)

    async def _later(self, schedule: Schedule, fire: Fire, *, why: str) -> None:
        async with self._store.snapshot() as tx:
            over = tx.now() - fire.fire_at > _PATIENCE
        if over:
            await self._end(schedule, fire, FireState.REFUSED, message=why)

    async def _end(
        self, schedule: Schedule, fire: Fire, state: FireState, *, task_id: str = "", message: str = ""
    ) -> None:
        async with self._store.transaction() as tx:
            ended = replace(fire, state=state, task_id=task_id, message=message, ended_at=tx.now())
            if not await tx.schedules.put_fire(ended):
                return
            detail = {"fire_time": fire.fire_at.isoformat(), "task_id": task_id, "message": message}
            await tx.audit.add(f"schedule.{state.value}", schedule.id, project_id=schedule.project_id, detail=detail)
            told = {
                **detail,
                "schedule_id": schedule.id,
                "name": schedule.name,
                "project_id": schedule.project_id,
                "created_by": schedule.created_by,
            }
            topic = "schedule.fired" if state is FireState.MADE else "schedule.refused"
            await tx.outbox.add(topic, told, subject=schedule.id, project_id=schedule.project_id)
            tx.on_commit(self._wakes.outbox.set)
