"""Projects and who works in them: as one transaction sees them, and who may enter."""

from collections.abc import Sequence
from typing import Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.project import Member, Project
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.access import require
from lodeworks_controller.service.store import Transaction


class ProjectRows(Protocol):
    """Projects and members as one transaction sees them. No method commits."""

    async def get(self, project_id: str) -> Project:
        """Returns a project, archived or not, or raises NotFoundError PROJECT_NOT_FOUND."""
        ...

    async def find(self, name_or_id: str) -> Project | None:
        """Returns the active project of that name, or the project with that id."""
        ...

    async def add(self, project: Project) -> None:
        """Stores a new project, or raises ExistsError PROJECT_EXISTS."""
        ...

    async def put(self, project: Project) -> None:
        """Stores a project that changed, or raises ExistsError PROJECT_EXISTS."""
        ...

    async def list(self, *, user_id: str | None, after_name: str = "", limit: int = 100) -> Sequence[Project]:
        """Returns active projects by name: those that a user is a member of, or all when user_id is None."""
        ...

    async def role(self, project_id: str, user_id: str) -> ProjectRole | None:
        """Returns what the user is in the project, None for no member."""
        ...

    async def members(self, project_id: str) -> Sequence[Member]:
        """Returns the members by name."""
        ...

    async def put_member(self, member: Member) -> None:
        """Adds a member or changes its role."""
        ...

    async def remove_member(self, project_id: str, user_id: str) -> None:
        """Takes a member out; harmless when it is none."""
        ...


async def enter(tx: Transaction, principal: Principal, project: str, role: ProjectRole) -> Project:
    """Returns the project of a name or id in which the caller has the role.

    Raises NotFoundError PROJECT_NOT_FOUND, also to who is no member; PermissionDeniedError ROLE_TOO_LOW; ConflictError
    PROJECT_ARCHIVED to who wants to change something.
    """
    found = await tx.projects.find(project)
    if found is None or not (principal.is_administrator or await tx.projects.role(found.id, principal.user_id)):
        message = f"there is no project {project!r} that you are a member of; see `lode project ls`"
        raise NotFoundError("PROJECT_NOT_FOUND", message, project=project)
    await require(tx, principal, found.id, role)
    if role is not ProjectRole.VIEWER:
        found.require_active()
    return found
