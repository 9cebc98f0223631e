"""Projects and their members in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.project import Member, ObjectType, Project, ProjectState
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Id, Instant, metadata

projects = Table(
    "projects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("name_key", String(200), nullable=False, unique=True),  # folded name; the id once archived, to free the name
    Column("object_type", String(40), nullable=False),
    Column("state", String(20), nullable=False),
    Column("description", Text, nullable=False),
    Column("class_revision", Integer, nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("archived_at", Instant),
)

members = Table(
    "members",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("user_name", String(100), nullable=False),
    Column("role", String(20), nullable=False),
    Index(None, "user_id"),
)

_FIND = prepared(
    select(projects).where((projects.c.name_key == bindparam("name_key")) | (projects.c.id == bindparam("project_id")))
)
_ROLE = prepared(
    select(members.c.role).where(
        members.c.project_id == bindparam("project_id"), members.c.user_id == bindparam("user_id")
    )
)


class SqlProjectRows:
    """Projects and members on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, project_id: str) -> Project:
        """Returns a project, archived or not, or raises NotFoundError PROJECT_NOT_FOUND."""
        row = (await self._connection.execute(select(projects).where(projects.c.id == project_id))).mappings().first()
        if row is None:
            raise NotFoundError("PROJECT_NOT_FOUND", f"there is no project {project_id}; see `lode project ls`")
        return _to_project(row)

    async def find(self, name_or_id: str) -> Project | None:
        """Returns the active project of that name, or the project with that id."""
        asked = {"name_key": fold(name_or_id), "project_id": name_or_id}
        row = (await self._connection.execute(_FIND, asked)).mappings().first()
        return None if row is None else _to_project(row)

    async def add(self, project: Project) -> None:
        """Stores a new project, or raises ExistsError PROJECT_EXISTS."""
        await self._refuse_taken(project)
        await self._connection.execute(insert(projects), _values(project))

    async def put(self, project: Project) -> None:
        """Stores a project that changed, or raises ExistsError PROJECT_EXISTS."""
        await self._refuse_taken(project)
        await self._connection.execute(update(projects).where(projects.c.id == project.id).values(_values(project)))

    async def _refuse_taken(self, project: Project) -> None:
        query = select(projects.c.id).where(projects.c.name_key == _key(project), projects.c.id != project.id)
        if (await self._connection.execute(query)).first() is not None:
            message = f"there is a project {project.name!r} already; choose another name"
            raise ExistsError("PROJECT_EXISTS", message, name=project.name)

    async def list(self, *, user_id: str | None, after_name: str = "", limit: int = 100) -> Sequence[Project]:
        """Returns active projects by name: those that a user is a member of, or all when user_id is None."""
        query = (
            select(projects)
            .where(projects.c.state == ProjectState.ACTIVE.value, projects.c.name_key > fold(after_name))
            .order_by(projects.c.name_key)
            .limit(limit)
        )
        if user_id is not None:
            query = query.where(projects.c.id.in_(select(members.c.project_id).where(members.c.user_id == user_id)))
        return [_to_project(row) for row in (await self._connection.execute(query)).mappings()]

    async def role(self, project_id: str, user_id: str) -> ProjectRole | None:
        """Returns what the user is in the project, None for no member."""
        role = (await self._connection.execute(_ROLE, {"project_id": project_id, "user_id": user_id})).scalar()
        return None if role is None else ProjectRole(role)

    async def members(self, project_id: str) -> Sequence[Member]:
        """Returns the members by name."""
        query = (
            select(members).where(members.c.project_id == project_id).order_by(members.c.user_name, members.c.user_id)
        )
        rows = (await self._connection.execute(query)).mappings()
        return [Member(row["project_id"], row["user_id"], ProjectRole(row["role"]), row["user_name"]) for row in rows]

    async def put_member(self, member: Member) -> None:
        """Adds a member or changes its role."""
        await self.remove_member(member.project_id, member.user_id)
        await self._connection.execute(
            insert(members),
            {
                "project_id": member.project_id,
                "user_id": member.user_id,
                "user_name": member.user_name,
                "role": member.role.value,
            },
        )

    async def remove_member(self, project_id: str, user_id: str) -> None:
        """Takes a member out; harmless when it is none."""
        mine = (members.c.project_id == project_id, members.c.user_id == user_id)
        await self._connection.execute(delete(members).where(*mine))


def _key(project: Project) -> str:
    return project.id if project.state is ProjectState.ARCHIVED else fold(project.name)


def _values(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "name_key": _key(project),
        "object_type": project.object_type.value,
        "state": project.state.value,
        "description": project.description,
        "class_revision": project.class_revision,
        "created_by": project.created_by,
        "created_at": project.created_at,
        "archived_at": project.archived_at,
    }


def _to_project(row: Any) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        object_type=ObjectType(row["object_type"]),
        state=ProjectState(row["state"]),
        description=row["description"],
        class_revision=row["class_revision"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        archived_at=row["archived_at"],
    )
