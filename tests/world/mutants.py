"""Mistakes that could be made in the fences of leases, each put in on purpose: the invariants must notice every one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lodeworks_controller.domain.task import lease as lease_rules
from lodeworks_controller.service import granting
from lodeworks_controller.service import lease as lease_service
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.storage.database.audit import SqlAuditRows
from lodeworks_controller.storage.database.outbox import SqlOutboxRows
from lodeworks_controller.storage.database.task import SqlTaskRows
from lodeworks_controller.storage.database.worker import SqlWorkerRows
from lodeworks_controller.storage.logs.files import LogFiles
from lodeworks_worker.journal import Journal
from lodeworks_worker.runs import Runs
from simulated_controller import MadeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def an_epoch_that_nobody_checks(patch: pytest.MonkeyPatch) -> None:
    """Whoever has held a task may complete it and write its log."""

    def holds(task: Any, *, worker_id: str, lease_epoch: int) -> bool:
        return task.state in lease_rules.HELD

    patch.setattr(lease_rules, "holds", holds)
    patch.setattr(lease_service, "holds", holds)


def an_epoch_that_stands(patch: pytest.MonkeyPatch) -> None:
    """The next attempt has the number of the last one."""
    sound = lease_rules.granted

    def granted(task: Any, **more: Any) -> Any:
        again = sound(task, **more)
        return replace(again, lease=replace(again.lease, epoch=max(1, task.lease.epoch)))

    patch.setattr(granting, "granted", granted)


def a_return_after_another_took_over(patch: pytest.MonkeyPatch) -> None:
    """A worker that comes back gets its run, whoever has it by now."""

    async def revive(self: Any, tx: Any, worker_id: str, task_id: str, lease_epoch: int) -> Any:
        task = await tx.tasks.get(task_id)
        attempt = await tx.tasks.attempt(task_id, lease_epoch)
        if attempt is None or attempt.worker_id != worker_id or task.state.final:
            return None
        lease = replace(task.lease, epoch=lease_epoch)
        held = lease_rules.revived(replace(task, lease=lease), worker_id=worker_id, at=tx.now(), terms=self._terms)
        return await lease_service.swap(tx, task, held)

    patch.setattr(lease_service.LeaseService, "_revive", revive)


def a_request_id_that_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A repeated request is carried out again."""

    async def nothing(*_args: Any, **_more: Any) -> None:
        return None

    patch.setattr(Once, "result", nothing)
    patch.setattr(Once, "keep", nothing)


def a_gpu_that_anybody_gets(patch: pytest.MonkeyPatch) -> None:
    """GPUs are given out, whoever has them."""

    async def gpus(self: Any, worker_id: str) -> Any:
        return [replace(gpu, task_id="") for gpu in await sound(self, worker_id)]

    async def hold(self: Any, worker_id: str, uuids: Any, *, task_id: str) -> bool:
        return True

    sound = SqlWorkerRows.gpus
    patch.setattr(SqlWorkerRows, "gpus", gpus)
    patch.setattr(SqlWorkerRows, "hold_gpus", hold)


def a_gpu_that_is_never_freed(patch: pytest.MonkeyPatch) -> None:
    """Runs end, and their GPUs stay taken."""

    async def free(self: Any, task_id: str) -> None:
        return None

    patch.setattr(SqlWorkerRows, "free_gpus", free)


def a_log_that_repeats_itself(patch: pytest.MonkeyPatch) -> None:
    """What is sent again is written again."""
    sound = LogFiles._append

    def append(self: Any, key: Any, offset: int, data: bytes) -> int:
        path = self._path(key)
        size = path.stat().st_size if path.exists() else 0
        return sound(self, key, min(offset, size) if offset >= size else size, data)

    patch.setattr(LogFiles, "_append", append)


def a_log_with_a_gap(patch: pytest.MonkeyPatch) -> None:
    """Bytes that are missing are passed over."""

    async def pump(self: Any, driver: Any, handle: Any) -> bool:
        try:
            return await sound(self, driver, handle)
        except Exception:
            part = await driver.logs(handle, offset=self.offsets.driver)
            self.offsets = replace(self.offsets, driver=part.next_offset)
            raise

    from lodeworks_worker.log_pump import LogPump  # noqa: PLC0415 - beside its only user

    sound = LogPump.pump_out
    patch.setattr(LogPump, "pump_out", pump)


def an_end_that_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """Failures write no notice."""
    sound = SqlOutboxRows.add

    async def add(self: Any, topic: str, *args: Any, **more: Any) -> Any:
        return None if topic in {"task.failed", "task.cancelled"} else await sound(self, topic, *args, **more)

    patch.setattr(SqlOutboxRows, "add", add)


def an_end_that_is_not_audited(patch: pytest.MonkeyPatch) -> None:
    """Successes leave no trace in the audit log."""
    sound = SqlAuditRows.add

    async def add(self: Any, action: str, *args: Any, **more: Any) -> Any:
        return None if action == "task.succeeded" else await sound(self, action, *args, **more)

    patch.setattr(SqlAuditRows, "add", add)


def a_change_over_a_change(patch: pytest.MonkeyPatch) -> None:
    """A task is stored over what somebody else has stored meanwhile."""
    sound = SqlTaskRows.swap

    async def swap(self: Any, old: Any, new: Any) -> bool:
        now = await self.get(old.id)
        return await sound(self, now, new)

    patch.setattr(SqlTaskRows, "swap", swap)


def an_object_outside_of_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """The object of a failed task is made too."""
    sound = MadeKind.abandon

    async def abandon(self: Any, tx: Any, task: Any, outputs: Any, reason: Any) -> Any:
        if outputs:
            return await (await self.finish(replace(task, spec={}), outputs))(tx)
        return await sound(self, tx, task, outputs, reason)

    patch.setattr(MadeKind, "abandon", abandon)


def a_run_that_is_begun_again(patch: pytest.MonkeyPatch) -> None:
    """The worker does not remember what is over."""
    patch.setattr(Runs, "_note_over", lambda *_: None)


def an_outcome_that_is_not_written_down(patch: pytest.MonkeyPatch) -> None:
    """The journal says that it stored, and stored nothing."""

    async def save(self: Any, entry: Any) -> None:
        return None

    patch.setattr(Journal, "save", save)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__: mutant
    for mutant in (
        an_epoch_that_nobody_checks,
        an_epoch_that_stands,
        a_return_after_another_took_over,
        a_request_id_that_is_forgotten,
        a_gpu_that_anybody_gets,
        a_gpu_that_is_never_freed,
        a_log_that_repeats_itself,
        a_log_with_a_gap,
        an_end_that_is_not_told,
        an_end_that_is_not_audited,
        a_change_over_a_change,
        an_object_outside_of_the_transaction,
        a_run_that_is_begun_again,
        an_outcome_that_is_not_written_down,
    )
}
