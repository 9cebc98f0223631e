"""What the maker of a task may ask for, checked against who it is."""

from lodeworks_controller.domain.identity import InstallationRole
from lodeworks_controller.domain.task.placement_order import PRIORITY_MOST, check_priority
from lodeworks_controller.domain.task.task import NewTask
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.store import Transaction


async def check_options(tx: Transaction, wish: NewTask) -> None:
    """Refuses a priority that is not the maker's to set, and tasks to wait for that the maker may not see."""
    asked = wish.options
    urgent = asked.priority > PRIORITY_MOST
    administrator = (urgent or bool(asked.after)) and await _administers(tx, wish.created_by)
    check_priority(asked.priority, administrator=administrator)
    for parent_id in asked.after:
        parent = await tx.tasks.get(parent_id)
        known = administrator or parent.project_id == wish.project_id
        if not known and await tx.projects.role(parent.project_id, wish.created_by) is None:
            raise NotFoundError("TASK_NOT_FOUND", f"there is no task {parent_id}; list them with `lode task ls`")


async def _administers(tx: Transaction, user_id: str) -> bool:
    return bool(user_id) and (await tx.users.get(user_id)).role is InstallationRole.ADMINISTRATOR
