"""Who may do what: the one place where roles are compared."""

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.errors import NotFoundError, PermissionDeniedError
from lodeworks_controller.service.store import Transaction


async def require(tx: Transaction, principal: Principal, project_id: str, role: ProjectRole) -> None:
    """Refuses a person whose role in the project is below the needed one; administrators may everything.

    Who is no member does not learn that the project exists: NotFoundError PROJECT_NOT_FOUND.
    """
    if principal.is_administrator:
        return
    held = await tx.projects.role(project_id, principal.user_id)
    if held is None:
        raise NotFoundError(
            "PROJECT_NOT_FOUND", f"there is no project {project_id} that you are a member of", project=project_id
        )
    if not held.covers(role):
        raise PermissionDeniedError(
            "ROLE_TOO_LOW",
            f"this needs the role {role.value} and yours is {held.value}; ask an owner of the project",
            needed=role.value,
            held=held.value,
        )


def require_administrator(principal: Principal) -> None:
    """Refuses a person who does not administer the installation."""
    if not principal.is_administrator:
        raise PermissionDeniedError("ROLE_TOO_LOW", "only administrators may do this; ask one", needed="administrator")
