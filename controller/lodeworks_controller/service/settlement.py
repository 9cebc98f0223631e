"""How a task ends, in one unit of work: its object, its dependants, those who want to know."""

from collections.abc import Sequence
from dataclasses import replace

from lodeworks_controller.domain.task.lease import moved, released
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, ObjectRef, Task
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.events import task_ended
from lodeworks_controller.service.kinds.base import Kinds, Product
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.service.wake import Wakes


class Settlement:
    """Ends tasks. Everything happens in the caller's unit of work."""

    def __init__(self, kinds: Kinds, *, wakes: Wakes) -> None:
        self._kinds = kinds
        self._wakes = wakes

    def prepares_alone(self, task: Task) -> bool:
        """Says whether the task's run may be built before the task is durable."""
        return self._kinds.prepares_alone(task.kind)

    async def succeed(self, tx: Transaction, task: Task, product: Product) -> Task:
        """Makes the task SUCCEEDED with what it made, and its dependants ready."""
        done = moved(
            task,
            TaskState.SUCCEEDED,
            at=tx.now(),
            results=_as_results(product),
            ended_at=tx.now(),
            progress=1.0,
            failure=None,
            phase="",
            message="",
        )
        done = await self._store(tx, task, done)
        for child in await tx.tasks.children(task.id):
            await self._parent_done(tx, child)
        return done

    async def end(
        self, tx: Transaction, task: Task, state: TaskState, *, failure: Failure, outputs: Sequence[Output]
    ) -> Task:
        """Makes the task FAILED or CANCELLED, settles its object, and fails those that wait for it."""
        left = await self._kinds.get(task.kind).abandon(tx, task, outputs, failure.reason)
        done = replace(
            released(moved(task, state, at=tx.now())), results=_as_results(left), ended_at=tx.now(), failure=failure
        )
        done = await self._store(tx, task, done)
        verb = "was cancelled" if state is TaskState.CANCELLED else "failed"
        for child in await tx.tasks.children(task.id):
            if not child.state.final:
                why = Failure(FailureReason.DEPENDENCY, f"task {task.id} ({task.title}) {verb}; retry that one first")
                await self.end(tx, child, TaskState.FAILED, failure=why, outputs=())
        return done

    async def _parent_done(self, tx: Transaction, child: Task) -> None:
        if child.state is not TaskState.BLOCKED:
            return
        left = max(0, child.deps_left - 1)
        after = replace(child, deps_left=left, updated_at=tx.now())
        if not left:
            after = moved(after, TaskState.QUEUED, at=tx.now())
            tx.on_kept(self._wakes.placer.set)
        if not await tx.tasks.swap(child, after):
            raise ConflictError("TASK_CHANGED", f"task {child.id} changed meanwhile; try again")
        tx.on_commit(lambda: self._wakes.task_changed(child.id))

    async def _store(self, tx: Transaction, before: Task, after: Task) -> Task:
        if not await tx.tasks.swap(before, after):
            raise ConflictError("TASK_CHANGED", f"task {before.id} changed meanwhile; try again")
        await task_ended(tx, after)
        await tx.audit.add(f"task.{after.state.value}", after.id, project_id=after.project_id)
        tx.on_commit(lambda: self._wakes.task_changed(after.id))
        tx.on_commit(self._wakes.outbox.set)
        return replace(after, revision=before.revision + 1)


def _as_results(product: Product) -> tuple[ObjectRef, ...]:
    if product is None:
        return ()
    return (product,) if isinstance(product, ObjectRef) else tuple(product)
