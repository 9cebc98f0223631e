"""Projects, their members, and the way to everything in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.project.v1 import project_pb2 as pb
from lodeworks.api.project.v1.project_pb2_grpc import ProjectServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.resources.algorithm import AsyncAlgorithms
from lodeworks.resources.audit import AsyncAudit
from lodeworks.resources.curation import AsyncCuration
from lodeworks.resources.dataset import AsyncDatasets
from lodeworks.resources.device import AsyncDevices
from lodeworks.resources.evaluation import AsyncEvaluations
from lodeworks.resources.model import AsyncModels
from lodeworks.resources.object_class import AsyncClasses
from lodeworks.resources.paging import pages
from lodeworks.resources.schedule import AsyncSchedules
from lodeworks.resources.task import AsyncTasks
from lodeworks.resources.webhook import AsyncWebhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class AsyncProject:
    """A project and the way to everything in it.

    Args:
        connection: Where it lives.
        data: What the server says of it.

    Attributes:
        classes: Its class map.
        datasets: Its datasets.
        curation: What keeps its datasets in order.
        models: Its models.
        evaluations: Its evaluations.
        algorithms: Its algorithms.
        devices: Its devices.
        tasks: Its tasks.
        schedules: Its schedules.
        webhooks: Its webhooks.
        audit: Its audit log.
    """

    def __init__(self, connection: AsyncConnection, data: pb.Project) -> None:
        self._connection = connection
        self.data = data
        self.classes = AsyncClasses(connection, data.id)
        self.datasets = AsyncDatasets(connection, data.id)
        self.curation = AsyncCuration(connection, data.id)
        self.models = AsyncModels(connection, data.id)
        self.evaluations = AsyncEvaluations(connection, data.id)
        self.algorithms = AsyncAlgorithms(connection, data.id)
        self.devices = AsyncDevices(connection, data.id)
        self.tasks = AsyncTasks(connection, data.id)
        self.schedules = AsyncSchedules(connection, self)
        self.webhooks = AsyncWebhooks(connection, data.id)
        self.audit = AsyncAudit(connection, data.id)

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def name(self) -> str:
        """Returns the name."""
        return self.data.name

    def __repr__(self) -> str:
        """Returns one line for people."""
        return f"<project {self.name}>"

    async def members(self) -> AsyncIterator[pb.Member]:
        """Yields the members, sorted by name."""
        request = pb.ListMembersRequest(project=self.id)
        async for member in pages(self._connection, ProjectServiceStub, "ListMembers", request, items="members"):
            yield member

    async def add_member(self, user: str, role: str) -> pb.Member:
        """Gives a user a role: viewer, editor or owner."""
        request = pb.AddMemberRequest(
            project=self.id,
            user=user,
            role=pb.ProjectRole.Value(f"PROJECT_ROLE_{role.upper()}"),
            request_id=new_request_id(),
        )
        response: pb.AddMemberResponse = await self._connection.call(ProjectServiceStub, "AddMember", request)
        return response.member

    async def remove_member(self, user: str) -> None:
        """Takes a user out of the project."""
        request = pb.RemoveMemberRequest(project=self.id, user=user, request_id=new_request_id())
        await self._connection.call(ProjectServiceStub, "RemoveMember", request)


class AsyncProjects:
    """The projects of the caller.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(self, name: str, *, classes: Sequence[str] = (), description: str = "") -> AsyncProject:
        """Makes a project with its first classes. Raises ExistsError."""
        request = pb.CreateProjectRequest(
            name=name, class_names=classes, description=description, request_id=new_request_id()
        )
        response: pb.CreateProjectResponse = await self._connection.call(ProjectServiceStub, "CreateProject", request)
        return AsyncProject(self._connection, response.project)

    async def get(self, name: str) -> AsyncProject:
        """Returns a project by name or id. Raises NotFoundError."""
        response: pb.GetProjectResponse = await self._connection.call(
            ProjectServiceStub, "GetProject", pb.GetProjectRequest(project=name)
        )
        return AsyncProject(self._connection, response.project)

    async def list(self) -> AsyncIterator[AsyncProject]:
        """Yields the projects, sorted by name."""
        request = pb.ListProjectsRequest()
        async for project in pages(self._connection, ProjectServiceStub, "ListProjects", request, items="projects"):
            yield AsyncProject(self._connection, project)

    async def rename(self, name: str, new_name: str) -> AsyncProject:
        """Gives a project another name. Raises ExistsError."""
        request = pb.RenameProjectRequest(project=name, name=new_name, request_id=new_request_id())
        response: pb.RenameProjectResponse = await self._connection.call(ProjectServiceStub, "RenameProject", request)
        return AsyncProject(self._connection, response.project)

    async def delete(self, name: str) -> None:
        """Archives a project at once; its content is removed after a grace."""
        request = pb.DeleteProjectRequest(project=name, request_id=new_request_id())
        await self._connection.call(ProjectServiceStub, "DeleteProject", request)
