"""Checkpoints: what a run has written so far goes to the next attempt, on whatever worker that is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from lodeworks_controller.domain.task.attempt import Checkpoint
from lodeworks_controller.domain.task.run import Input, Output, RunSpec
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_controller.service.store import Transaction

ROLE: Final = "checkpoint"
"""Of an output that a run leaves, and of the input that the next attempt finds."""

_SOONEST: Final = timedelta(seconds=1)
"""No worker looks for checkpoints more often."""


async def keep_last(tx: Transaction, task: Task, lease_epoch: int, outputs: Sequence[Output]) -> None:
    """Keeps the checkpoint among the outputs of an attempt that did not succeed, for the next one."""
    found = next((output for output in outputs if output.role == ROLE), None)
    if found is not None:
        await put_checkpoint(tx, task, lease_epoch, digest=found.digest, size_bytes=found.size_bytes)


async def forget_checkpoint(tx: Transaction, task: Task) -> None:
    """Lets go of the checkpoint of a task that has succeeded; one of a moment's length has none."""
    granted_at = task.lease.granted_at
    if task.attempt_no <= 1 and granted_at is not None and tx.now() - granted_at < _SOONEST:
        return
    before = await tx.tasks.checkpoint(task.id)
    if before is not None:
        await tx.tasks.drop_checkpoint(task.id)
        await tx.blobs.release(task_scope(task.id), [before.digest])


async def with_checkpoint(tx: Transaction, task: Task, plan: RunSpec) -> RunSpec:
    """Returns the run of a granted task with the checkpoint to go on from, where an earlier attempt left one."""
    if task.attempt_no <= 1:
        return plan
    found = await tx.tasks.checkpoint(task.id)
    if found is None:
        return plan
    return replace(plan, inputs=(*plan.inputs, Input(ROLE, found.digest, found.size_bytes)))


async def put_checkpoint(tx: Transaction, task: Task, lease_epoch: int, *, digest: str, size_bytes: int) -> None:
    """Stores a task's newest checkpoint; lets go of the one before."""
    before = await tx.tasks.checkpoint(task.id)
    if before is not None and before.digest == digest:
        return
    await tx.blobs.reference(task_scope(task.id), [digest])
    await tx.tasks.put_checkpoint(Checkpoint(task.id, lease_epoch, digest, size_bytes, tx.now()))
    if before is not None:
        await tx.blobs.release(task_scope(task.id), [before.digest])
