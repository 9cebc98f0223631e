"""What people call about schedules."""

from datetime import datetime
from typing import Any

import grpc.aio
from lodeworks.api.schedule.v1 import schedule_pb2, schedule_pb2_grpc

from lodeworks_controller.domain.schedule import Fire, FireState, Misfire
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.schedule import NewSchedule, ScheduleService, ScheduleView
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]

_MISFIRES = {one: schedule_pb2.MisfirePolicy.Value(f"MISFIRE_POLICY_{one.name}") for one in Misfire}
_MISFIRE_OF = {value: one for one, value in _MISFIRES.items()}
_STATES = {state: schedule_pb2.FireState.Value(f"FIRE_STATE_{state.name}") for state in FireState}


class ScheduleServicer(schedule_pb2_grpc.ScheduleServiceServicer):
    """Administers schedules."""

    def __init__(self, schedules: ScheduleService, *, gate: Gate) -> None:
        self._schedules = schedules
        self._gate = gate

    async def CreateSchedule(
        self, request: schedule_pb2.CreateScheduleRequest, context: Context
    ) -> schedule_pb2.CreateScheduleResponse:
        """Makes a schedule."""
        wish = NewSchedule(
            name=request.name,
            cron=request.cron,
            time_zone=request.time_zone or "UTC",
            misfire=_MISFIRE_OF.get(request.misfire_policy, Misfire.ONCE),
            method=request.method,
            request=request.request_json,
        )
        view = await self._schedules.create(
            await self._gate.caller(context), request.project, wish, request_id=request.request_id
        )
        return schedule_pb2.CreateScheduleResponse(schedule=_to_schedule(view))

    async def GetSchedule(
        self, request: schedule_pb2.GetScheduleRequest, context: Context
    ) -> schedule_pb2.GetScheduleResponse:
        """Shows one schedule."""
        view = await self._schedules.get(await self._gate.caller(context), request.project, request.schedule)
        return schedule_pb2.GetScheduleResponse(schedule=_to_schedule(view))

    async def ListSchedules(
        self, request: schedule_pb2.ListSchedulesRequest, context: Context
    ) -> schedule_pb2.ListSchedulesResponse:
        """Lists the schedules of a project."""
        limit = page_size(request.page_size)
        found = await self._schedules.list(
            await self._gate.caller(context), request.project, after_name=request.page_token, limit=limit
        )
        token = found[-1].schedule.name if len(found) == limit else ""
        return schedule_pb2.ListSchedulesResponse(
            schedules=[_to_schedule(view) for view in found], next_page_token=token
        )

    async def PauseSchedule(
        self, request: schedule_pb2.PauseScheduleRequest, context: Context
    ) -> schedule_pb2.PauseScheduleResponse:
        """Stops a schedule from firing."""
        view = await self._schedules.pause(await self._gate.caller(context), request.project, request.schedule)
        return schedule_pb2.PauseScheduleResponse(schedule=_to_schedule(view))

    async def ResumeSchedule(
        self, request: schedule_pb2.ResumeScheduleRequest, context: Context
    ) -> schedule_pb2.ResumeScheduleResponse:
        """Lets a schedule fire again from now on."""
        view = await self._schedules.resume(await self._gate.caller(context), request.project, request.schedule)
        return schedule_pb2.ResumeScheduleResponse(schedule=_to_schedule(view))

    async def DeleteSchedule(
        self, request: schedule_pb2.DeleteScheduleRequest, context: Context
    ) -> schedule_pb2.DeleteScheduleResponse:
        """Removes a schedule."""
        await self._schedules.delete(
            await self._gate.caller(context), request.project, request.schedule, request_id=request.request_id
        )
        return schedule_pb2.DeleteScheduleResponse()

    async def ListFires(
        self, request: schedule_pb2.ListFiresRequest, context: Context
    ) -> schedule_pb2.ListFiresResponse:
        """Lists the fires of a schedule, newest first."""
        limit = page_size(request.page_size)
        found = await self._schedules.fires(
            await self._gate.caller(context),
            request.project,
            request.schedule,
            before=_moment(request.page_token),
            limit=limit,
        )
        token = found[-1].fire_at.isoformat() if len(found) == limit else ""
        return schedule_pb2.ListFiresResponse(fires=[_to_fire(fire) for fire in found], next_page_token=token)


def _moment(token: str) -> datetime | None:
    try:
        return datetime.fromisoformat(token) if token else None
    except ValueError:
        raise InvalidError("PAGE_TOKEN", "the page token is none of this list", field="page_token") from None


def _to_schedule(view: ScheduleView) -> schedule_pb2.Schedule:
    schedule = view.schedule
    return schedule_pb2.Schedule(
        id=schedule.id,
        name=schedule.name,
        project_id=schedule.project_id,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        misfire_policy=_MISFIRES[schedule.misfire],
        method=schedule.method,
        request_json=schedule.request,
        created_by=schedule.created_by,
        create_time=to_time(schedule.created_at),
        paused=schedule.paused,
        next_time=to_time(schedule.next_at),
        latest=None if view.latest is None else _to_fire(view.latest),
    )


def _to_fire(fire: Fire) -> schedule_pb2.Fire:
    return schedule_pb2.Fire(
        fire_time=to_time(fire.fire_at),
        state=_STATES[fire.state],
        task_id=fire.task_id,
        message=fire.message,
        end_time=to_time(fire.ended_at),
    )
