"""Reuse: finds the earlier task that a run equals, and takes its outputs where that is wished."""

from dataclasses import dataclass, replace

from lodeworks_controller.domain.task.lease import moved
from lodeworks_controller.domain.task.reuse import reuse_key
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.completion import FindMissing
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_controller.service.store import Store, Transaction


@dataclass(frozen=True, slots=True)
class Equal:
    """What is known of earlier runs that equal one."""

    key: str = ""
    task_id: str = ""
    outputs: tuple[Output, ...] = ()
    """Of that task, all of them in the store; empty when they are not to be taken."""

    def noted(self, task: Task) -> Task:
        """Returns the task with what is known."""
        return replace(task, reuse_key=self.key, equal_task_id=self.task_id, reused=False)


class Reuse:
    """Looks for equal runs in the same project."""

    def __init__(self, store: Store, *, find_missing: FindMissing, release: str) -> None:
        self._store = store
        self._find_missing = find_missing
        self._release = release

    async def equal(self, task: Task, run: RunSpec) -> Equal:
        """Returns what is known of earlier runs equal to that of a task."""
        key = reuse_key(run, kind=task.kind, release=self._release)
        if not key:
            return Equal()
        async with self._store.snapshot(brief=True) as tx:
            earlier = await tx.tasks.equal_to(key, project_id=task.project_id)
            if earlier is None:
                return Equal(key)
            wanted = task.options.reuse
            outputs = tuple(await tx.tasks.outputs(earlier.id, earlier.lease.epoch)) if wanted else ()
        if outputs and await self._find_missing([output.digest for output in outputs]):
            outputs = ()
        return Equal(key, earlier.id, outputs)


async def take(tx: Transaction, task: Task, equal: Equal) -> Task:
    """Gives a planned task the outputs of its equal and hands it to the finisher; returns it, not stored yet."""
    await tx.tasks.put_outputs(task.id, task.lease.epoch, equal.outputs)
    await tx.blobs.reference(task_scope(task.id), {output.digest for output in equal.outputs})
    finishing = moved(task, TaskState.FINISHING, at=tx.now())
    return replace(finishing, reused=True, not_before=None, phase="finishing", started_at=tx.now())
