"""Projects: what is made together, and by whom."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.errors import ConflictError


class ObjectType(Enum):
    """What a project's models find. Segmentation stands in the format and comes later in the software."""

    DETECTION = "detection"
    SEMANTIC_SEGMENTATION = "semantic_segmentation"
    INSTANCE_SEGMENTATION = "instance_segmentation"


class ProjectState(Enum):
    """Where a project is in its life. An archived one is removed after a grace."""

    ACTIVE = "active"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Project:
    """A project; ``class_revision`` is the newest revision of its class map, 0 while that is empty."""

    id: str
    name: str
    object_type: ObjectType
    state: ProjectState
    class_revision: int
    created_by: str
    created_at: datetime
    description: str = ""
    archived_at: datetime | None = None

    def archive(self, *, at: datetime) -> "Project":
        """Returns the project archived; one that is stays as it is."""
        if self.state is ProjectState.ARCHIVED:
            return self
        return replace(self, state=ProjectState.ARCHIVED, archived_at=at)

    def require_active(self) -> None:
        """Raises ConflictError when nothing may be added any more."""
        if self.state is not ProjectState.ACTIVE:
            raise ConflictError("PROJECT_ARCHIVED", f"project {self.name} is archived; work in another one")


@dataclass(frozen=True, slots=True)
class Member:
    """A person's role in a project."""

    project_id: str
    user_id: str
    role: ProjectRole
    user_name: str = ""


def check_member_change(members: tuple[Member, ...], *, user_id: str, role: ProjectRole | None) -> None:
    """Refuses to take the last owner away; ``role`` None means removal."""
    owners = {member.user_id for member in members if member.role is ProjectRole.OWNER}
    if owners == {user_id} and role is not ProjectRole.OWNER:
        raise ConflictError("LAST_OWNER", "this is the last owner of the project; make another owner first")
