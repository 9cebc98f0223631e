"""Projects, their members, and the way to everything in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.project.v1 import project_pb2 as pb
from lodeworks.api.project.v1.project_pb2_grpc import ProjectServiceStub
from lodeworks.blocking.algorithm import Algorithms
from lodeworks.blocking.audit import Audit
from lodeworks.blocking.curation import Curation
from lodeworks.blocking.dataset import Datasets
from lodeworks.blocking.device import Devices
from lodeworks.blocking.evaluation import Evaluations
from lodeworks.blocking.model import Models
from lodeworks.blocking.object_class import Classes
from lodeworks.blocking.paging import pages
from lodeworks.blocking.schedule import Schedules
from lodeworks.blocking.task import Tasks
from lodeworks.blocking.webhook import Webhooks
from lodeworks.connection import Connection, new_request_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Project:
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

    def __init__(self, connection: Connection, data: pb.Project) -> None:
        self._connection = connection
        self.data = data
        self.classes = Classes(connection, data.id)
        self.datasets = Datasets(connection, data.id)
        self.curation = Curation(connection, data.id)
        self.models = Models(connection, data.id)
        self.evaluations = Evaluations(connection, data.id)
        self.algorithms = Algorithms(connection, data.id)
        self.devices = Devices(connection, data.id)
        self.tasks = Tasks(connection, data.id)
        self.schedules = Schedules(connection, self)
        self.webhooks = Webhooks(connection, data.id)
        self.audit = Audit(connection, data.id)

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

    def members(self) -> Iterator[pb.Member]:
        """Yields the members, sorted by name."""
        request = pb.ListMembersRequest(project=self.id)
        for member in pages(self._connection, ProjectServiceStub, "ListMembers", request, items="members"):
            yield member

    def add_member(self, user: str, role: str) -> pb.Member:
        """Gives a user a role: viewer, editor or owner."""
        request = pb.AddMemberRequest(
            project=self.id,
            user=user,
            role=pb.ProjectRole.Value(f"PROJECT_ROLE_{role.upper()}"),
            request_id=new_request_id(),
        )
        response: pb.AddMemberResponse = self._connection.call(ProjectServiceStub, "AddMember", request)
        return response.member

    def remove_member(self, user: str) -> None:
        """Takes a user out of the project."""
        request = pb.RemoveMemberRequest(project=self.id, user=user, request_id=new_request_id())
        self._connection.call(ProjectServiceStub, "RemoveMember", request)


class Projects:
    """The projects of the caller.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, *, classes: Sequence[str] = (), description: str = "") -> Project:
        """Makes a project with its first classes. Raises ExistsError."""
        request = pb.CreateProjectRequest(
            name=name, class_names=classes, description=description, request_id=new_request_id()
        )
        response: pb.CreateProjectResponse = self._connection.call(ProjectServiceStub, "CreateProject", request)
        return Project(self._connection, response.project)

    def get(self, name: str) -> Project:
        """Returns a project by name or id. Raises NotFoundError."""
        response: pb.GetProjectResponse = self._connection.call(
            ProjectServiceStub, "GetProject", pb.GetProjectRequest(project=name)
        )
        return Project(self._connection, response.project)

    def list(self) -> Iterator[Project]:
        """Yields the projects, sorted by name."""
        request = pb.ListProjectsRequest()
        for project in pages(self._connection, ProjectServiceStub, "ListProjects", request, items="projects"):
            yield Project(self._connection, project)

    def rename(self, name: str, new_name: str) -> Project:
        """Gives a project another name. Raises ExistsError."""
        request = pb.RenameProjectRequest(project=name, name=new_name, request_id=new_request_id())
        response: pb.RenameProjectResponse = self._connection.call(ProjectServiceStub, "RenameProject", request)
        return Project(self._connection, response.project)

    def delete(self, name: str) -> None:
        """Archives a project at once; its content is removed after a grace."""
        request = pb.DeleteProjectRequest(project=name, request_id=new_request_id())
        self._connection.call(ProjectServiceStub, "DeleteProject", request)
