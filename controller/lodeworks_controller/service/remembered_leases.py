"""Leases of a moment ago as they were stored: whoever ends a short run need not read them whole."""

from typing import Final

from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.store import Transaction

_MOST: Final = 1_024


class RememberedLeases:
    """The newest grants of this controller. A hint that saves reading, never the truth: the revision decides."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Task, Attempt]] = {}

    def keep(self, task: Task, attempt: Attempt) -> None:
        """Notes a grant that is durable."""
        self._kept[task.id] = (task, attempt)
        if len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]

    async def take(self, tx: Transaction, task_id: str, lease_epoch: int) -> tuple[Task, Attempt] | None:
        """Returns a task and its attempt if they still are as they were granted, and forgets them.

        An attempt changes only together with its task.
        """
        kept = self._kept.pop(task_id, None)
        if kept is None or kept[0].lease.epoch != lease_epoch or not await tx.tasks.unchanged(kept[0]):
            return None
        return kept
