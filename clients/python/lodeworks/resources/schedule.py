"""Schedules: tasks that are made at certain times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from google.protobuf import json_format

from lodeworks.api.schedule.v1 import schedule_pb2 as pb
from lodeworks.api.schedule.v1.schedule_pb2_grpc import ScheduleServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.errors import InvalidError
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lodeworks.making import AsyncWish
    from lodeworks.resources.project import AsyncProject

_METHODS = {
    "ExportDataset": "dataset.export",
    "GenerateDataset": "dataset.generate",
    "ImportDataset": "dataset.import",
    "MineDataset": "dataset.mine",
    "EvaluateModel": "model.evaluate",
    "InferModel": "model.infer",
    "PublishModel": "model.publish",
    "TrainModel": "model.train",
}
"""The rpcs that make tasks, and their names as things to schedule."""


class RequestNotedError(BaseException):
    """Ends a call that was to be noted, not made; it passes everything that handles errors.

    Attributes:
        method: Name of what would have been carried out.
        request_json: Its request.
    """

    def __init__(self, method: str, request_json: str) -> None:
        super().__init__(method)
        self.method = method
        self.request_json = request_json


class AsyncNoting:
    """A connection that passes on what reads, and notes the first request that would make a task.

    Args:
        connection: The connection behind it.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._asked: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        """Returns what the connection behind it has."""
        return getattr(self._connection, name)

    async def call(self, stub: Callable[[Any], Any], method: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """Calls a method, or raises RequestNotedError in place of making a task."""
        if method in _METHODS:
            self._as_asked(request)
            document = json_format.MessageToJson(request, preserving_proto_field_name=True, indent=None)
            raise RequestNotedError(_METHODS[method], document)
        response = await self._connection.call(stub, method, request, timeout_s=timeout_s)
        asked = {"GetDataset": "dataset", "GetModel": "model"}.get(method)
        if asked is not None:
            name: str = getattr(request, asked)
            self._asked |= {response.version.id: name, response.version.name: name}
        return response

    def _as_asked(self, request: Any) -> None:
        """Puts names in place of what they mean today: each fire shall look them up anew."""
        for field, value in request.ListFields():
            if field.type == field.TYPE_STRING and not field.is_repeated:
                setattr(request, field.name, self._asked.get(value, self._asked.get(value.partition(":")[0], value)))


class AsyncSchedules:
    """The schedules of a project.

    Args:
        connection: Where they live.
        project: The project.
    """

    def __init__(self, connection: AsyncConnection, project: AsyncProject) -> None:
        self._connection = connection
        self._project = project

    async def add(
        self,
        name: str,
        *,
        cron: str,
        what: AsyncWish[AsyncProject],
        time_zone: str = "UTC",
        misfire: str = "once",
    ) -> pb.Schedule:
        """Makes a schedule. Raises ExistsError, InvalidError.

        Args:
            name: Its name.
            cron: When: minute, hour, day of month, month, day of week; or @daily and the like.
            what: Makes a task on the project that it is given: ``lambda project: project.models.train(…)``. It is
                noted, not carried out, and every fire carries it out anew; a dataset or model by name is then the
                newest of that time.
            time_zone: IANA name of the time zone in which cron is read.
            misfire: What to do about fires that nobody was there for: skip, once or all.
        """
        noting = type(self._project)(cast("AsyncConnection", AsyncNoting(self._connection)), self._project.data)
        try:
            await what(noting)
        except RequestNotedError as noted:
            method, request_json = noted.method, noted.request_json
        else:
            raise InvalidError(
                f"what is scheduled made no task; these can be scheduled: {', '.join(sorted(_METHODS.values()))}",
                reason="SCHEDULE_REQUEST",
            )
        request = pb.CreateScheduleRequest(
            project=self._project.id,
            name=name,
            cron=cron,
            time_zone=time_zone,
            misfire_policy=pb.MisfirePolicy.Value(f"MISFIRE_POLICY_{misfire.upper()}"),
            method=method,
            request_json=request_json,
            request_id=new_request_id(),
        )
        response: pb.CreateScheduleResponse = await self._connection.call(
            ScheduleServiceStub, "CreateSchedule", request
        )
        return response.schedule

    async def get(self, name: str) -> pb.Schedule:
        """Returns a schedule by name or id. Raises NotFoundError."""
        response: pb.GetScheduleResponse = await self._connection.call(
            ScheduleServiceStub, "GetSchedule", pb.GetScheduleRequest(project=self._project.id, schedule=name)
        )
        return response.schedule

    async def list(self) -> AsyncIterator[pb.Schedule]:
        """Yields the schedules, sorted by name."""
        request = pb.ListSchedulesRequest(project=self._project.id)
        async for schedule in pages(self._connection, ScheduleServiceStub, "ListSchedules", request, items="schedules"):
            yield schedule

    async def pause(self, name: str) -> pb.Schedule:
        """Stops a schedule from firing; what it made goes on."""
        response: pb.PauseScheduleResponse = await self._connection.call(
            ScheduleServiceStub, "PauseSchedule", pb.PauseScheduleRequest(project=self._project.id, schedule=name)
        )
        return response.schedule

    async def resume(self, name: str) -> pb.Schedule:
        """Lets a schedule fire again from now on."""
        response: pb.ResumeScheduleResponse = await self._connection.call(
            ScheduleServiceStub, "ResumeSchedule", pb.ResumeScheduleRequest(project=self._project.id, schedule=name)
        )
        return response.schedule

    async def delete(self, name: str) -> None:
        """Removes a schedule; what it made stays."""
        request = pb.DeleteScheduleRequest(project=self._project.id, schedule=name, request_id=new_request_id())
        await self._connection.call(ScheduleServiceStub, "DeleteSchedule", request)

    async def fires(self, name: str) -> AsyncIterator[pb.Fire]:
        """Yields the fires of a schedule, newest first."""
        request = pb.ListFiresRequest(project=self._project.id, schedule=name)
        async for fire in pages(self._connection, ScheduleServiceStub, "ListFires", request, items="fires"):
            yield fire
