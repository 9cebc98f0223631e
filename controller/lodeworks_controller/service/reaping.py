"""Reaping: a silent worker's runs become suspect, then lost."""

from lodeworks_controller.domain.task.lease import overdue, suspected
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.task import swap
from lodeworks_controller.service.wake import Wakes

_BATCH = 256


class Reaping:
    """Looks for leases that nobody keeps alive. Only the database's clock decides."""

    def __init__(self, store: Store, *, ends: AttemptEnd, wakes: Wakes) -> None:
        self._store = store
        self._ends = ends
        self._wakes = wakes

    async def reap(self) -> None:
        """Makes expired leases suspect, and ends suspects that were waited for long enough."""
        async with self._store.snapshot() as tx:
            some = await tx.tasks.expired(now=tx.now(), limit=1) or await tx.tasks.suspects(limit=1)
        if not some:
            return
        async with self._store.transaction() as tx:
            for task in await tx.tasks.expired(now=tx.now(), limit=_BATCH):
                await swap(tx, task, suspected(task, at=tx.now()))
                await tx.audit.add("task.suspect", task.id, project_id=task.project_id)
                tx.on_commit(lambda changed=task.id: self._wakes.task_changed(changed))  # type: ignore[misc]
            for task in await tx.tasks.suspects(limit=_BATCH):
                if overdue(task, at=tx.now()):
                    worker = await tx.workers.get(task.lease.owner)
                    why = f"its worker {worker.name} was silent for more than {task.lost_after_s:.0f} s"
                    await self._ends.lose(tx, task, why=why)
