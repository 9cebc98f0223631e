"""Projects and their members."""

from typing import Any, Final

import grpc.aio
from lodeworks.api.project.v1 import project_pb2, project_pb2_grpc

from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.project import Member, ObjectType
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.project_service import ProjectService, ProjectSight
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]

_TYPES: Final = {
    project_pb2.OBJECT_TYPE_UNSPECIFIED: ObjectType.DETECTION,
    project_pb2.OBJECT_TYPE_DETECTION: ObjectType.DETECTION,
    project_pb2.OBJECT_TYPE_SEMANTIC_SEGMENTATION: ObjectType.SEMANTIC_SEGMENTATION,
    project_pb2.OBJECT_TYPE_INSTANCE_SEGMENTATION: ObjectType.INSTANCE_SEGMENTATION,
}
_TYPES_TO_WIRE: Final = {found: wire for wire, found in _TYPES.items()}
_ROLES_TO_WIRE: Final = {
    ProjectRole.VIEWER: project_pb2.PROJECT_ROLE_VIEWER,
    ProjectRole.EDITOR: project_pb2.PROJECT_ROLE_EDITOR,
    ProjectRole.OWNER: project_pb2.PROJECT_ROLE_OWNER,
}
_ROLES: Final = {wire: role for role, wire in _ROLES_TO_WIRE.items()}


class ProjectServicer(project_pb2_grpc.ProjectServiceServicer):
    """Serves ``lodeworks.api.project.v1.ProjectService``."""

    def __init__(self, projects: ProjectService, *, gate: Gate) -> None:
        self._projects = projects
        self._gate = gate

    async def CreateProject(
        self, request: project_pb2.CreateProjectRequest, context: Context
    ) -> project_pb2.CreateProjectResponse:
        """Makes a project."""
        sight = await self._projects.create(
            await self._gate.caller(context),
            request.name,
            class_names=tuple(request.class_names),
            object_type=_object_type(request.object_type),
            description=request.description,
            request_id=request.request_id,
        )
        return project_pb2.CreateProjectResponse(project=_project(sight))

    async def GetProject(
        self, request: project_pb2.GetProjectRequest, context: Context
    ) -> project_pb2.GetProjectResponse:
        """Shows one project."""
        sight = await self._projects.get(await self._gate.caller(context), request.project)
        return project_pb2.GetProjectResponse(project=_project(sight))

    async def ListProjects(
        self, request: project_pb2.ListProjectsRequest, context: Context
    ) -> project_pb2.ListProjectsResponse:
        """Lists the caller's projects."""
        limit = page_size(request.page_size)
        caller = await self._gate.caller(context)
        found = await self._projects.list(caller, after_name=request.page_token, limit=limit + 1)
        more = found[limit - 1].project.name if len(found) > limit else ""
        return project_pb2.ListProjectsResponse(projects=map(_project, found[:limit]), next_page_token=more)

    async def RenameProject(
        self, request: project_pb2.RenameProjectRequest, context: Context
    ) -> project_pb2.RenameProjectResponse:
        """Gives a project another name."""
        caller = await self._gate.caller(context)
        sight = await self._projects.rename(caller, request.project, request.name, request_id=request.request_id)
        return project_pb2.RenameProjectResponse(project=_project(sight))

    async def DeleteProject(
        self, request: project_pb2.DeleteProjectRequest, context: Context
    ) -> project_pb2.DeleteProjectResponse:
        """Archives a project."""
        caller = await self._gate.caller(context)
        await self._projects.delete(caller, request.project, request_id=request.request_id)
        return project_pb2.DeleteProjectResponse()

    async def AddMember(self, request: project_pb2.AddMemberRequest, context: Context) -> project_pb2.AddMemberResponse:
        """Gives a user a role in a project."""
        role = _ROLES.get(request.role)
        if role is None:
            raise InvalidError("ROLE_INVALID", "choose the role viewer, editor or owner", field="role")
        caller = await self._gate.caller(context)
        member = await self._projects.add_member(
            caller, request.project, request.user, role=role, request_id=request.request_id
        )
        return project_pb2.AddMemberResponse(member=_member(member))

    async def ListMembers(
        self, request: project_pb2.ListMembersRequest, context: Context
    ) -> project_pb2.ListMembersResponse:
        """Lists the members of a project."""
        limit = page_size(request.page_size)
        found = await self._projects.members(await self._gate.caller(context), request.project)
        rest = [member for member in found if (member.user_name, member.user_id) > _after(request.page_token)]
        more = f"{rest[limit - 1].user_name}/{rest[limit - 1].user_id}" if len(rest) > limit else ""
        return project_pb2.ListMembersResponse(members=map(_member, rest[:limit]), next_page_token=more)

    async def RemoveMember(
        self, request: project_pb2.RemoveMemberRequest, context: Context
    ) -> project_pb2.RemoveMemberResponse:
        """Takes a user out of a project."""
        caller = await self._gate.caller(context)
        await self._projects.remove_member(caller, request.project, request.user, request_id=request.request_id)
        return project_pb2.RemoveMemberResponse()


def _after(token: str) -> tuple[str, str]:
    name, _, user_id = token.rpartition("/")
    return name, user_id


def _object_type(wire: project_pb2.ObjectType.ValueType) -> ObjectType:
    found = _TYPES.get(wire)
    if found is None:
        raise InvalidError("OBJECT_TYPE_INVALID", "choose detection", field="object_type")
    return found


def _project(sight: ProjectSight) -> project_pb2.Project:
    project = sight.project
    return project_pb2.Project(
        id=project.id,
        name=project.name,
        object_type=_TYPES_TO_WIRE[project.object_type],
        description=project.description,
        class_map_revision=sight.class_map.revision,
        class_names=sight.class_map.names,
        create_time=to_time(project.created_at),
        role=_ROLES_TO_WIRE[sight.role],
        archive_time=to_time(project.archived_at),
    )


def _member(member: Member) -> project_pb2.Member:
    return project_pb2.Member(user_id=member.user_id, user_name=member.user_name, role=_ROLES_TO_WIRE[member.role])
