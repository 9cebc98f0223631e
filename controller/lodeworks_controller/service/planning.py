"""Planning: a task that became ready gets its run, and one that waits is told why."""

import asyncio
import logging
from dataclasses import replace

from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.run import RunSpec
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, Task
from lodeworks_controller.errors import ExhaustedError, LodeworksError, UnavailableError
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_controller.service.kinds.base import Kinds
from lodeworks_controller.service.reuse import Equal, Reuse, take
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.tasks_in_hand import LOOK_AT, TasksInHand
from lodeworks_controller.service.waiting import Waiting
from lodeworks_controller.service.wake import Wakes

_log = logging.getLogger(__name__)

_TRIES = 5
_FEW = 16
"""So many rows are written where they are asked for; more are a trip to the database's thread."""


class Planning:
    """Builds the runs of ready tasks, outside of any transaction, several at once."""

    def __init__(
        self,
        store: Store,
        kinds: Kinds,
        *,
        settlement: Settlement,
        wakes: Wakes,
        terms: LeaseTerms,
        at_once: int = 4,
        reuse: Reuse | None = None,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._settlement = settlement
        self._wakes = wakes
        self._slots = asyncio.Semaphore(at_once)
        self._in_hand = TasksInHand("plan", work=self._plan, look_again=wakes.placer.set)
        self._tries: dict[str, int] = {}
        self._reuse = reuse
        self._waiting = Waiting(store, settlement=settlement, wakes=wakes, terms=terms)

    async def plan_ready(self) -> None:
        """Starts to build the runs of ready tasks that have none; returns before they are built."""
        if self._in_hand.full:
            return
        async with self._store.snapshot() as tx:
            ready = await tx.tasks.unplanned(limit=LOOK_AT)
        self._in_hand.take_up(ready)

    async def plan_handed(self) -> None:
        """Starts to build the runs of the tasks that were handed over; looks for ready ones where none was."""
        if self._in_hand.full:
            return
        handed = self._wakes.placer.take(self._in_hand.room)
        if handed:
            self._in_hand.take_over(handed)
        else:
            await self.plan_ready()

    async def drain(self) -> None:
        """Waits for the runs being built."""
        await self._in_hand.drain()

    async def stop(self) -> None:
        """Ends the work begun; it is done again after the next start."""
        await self._in_hand.stop()

    async def _plan(self, task: Task) -> None:
        async with self._slots:
            try:
                plan = await self._kinds.get(task.kind).prepare(task)
            except (UnavailableError, ExhaustedError) as error:
                await self._explain(task, error.message)
                return
            except LodeworksError as error:
                await self._fail(task, error.message)
                return
            except Exception:  # noqa: BLE001 (a kind's fault must not end the placer)
                _log.exception("the run of task %s (%s) could not be built", task.id, task.kind)
                self._tries[task.id] = self._tries.get(task.id, 0) + 1
                if self._tries[task.id] >= _TRIES:
                    await self._fail(task, "the controller could not build the task's inputs; see its log")
                return
        await self._keep(task, plan)

    async def _keep(self, task: Task, plan: RunSpec) -> None:
        self._tries.pop(task.id, None)
        equal = Equal() if self._reuse is None else await self._reuse.equal(task, plan)
        async with self._store.transaction(brief=len(plan.inputs) + len(equal.outputs) <= _FEW) as tx:
            planned = equal.noted(replace(task, planned=True, waiting_reason="", updated_at=tx.now()))
            if equal.outputs:
                planned = await take(tx, planned, equal)
            if not await tx.tasks.swap(task, planned):
                return  # cancelled meanwhile
            await tx.tasks.put_plan(task.id, plan)
            if plan.inputs:
                # What the lease may read, and what stays while the task is known.
                await tx.blobs.reference(task_scope(task.id), {one.digest for one in plan.inputs})
            if equal.outputs:
                tx.on_commit(self._wakes.finisher.set)
                tx.on_commit(lambda: self._wakes.task_changed(task.id))
            else:
                tx.on_kept(lambda: self._wakes.ring_for(task.wants))

    async def _fail(self, task: Task, message: str) -> None:
        self._tries.pop(task.id, None)
        async with self._store.transaction() as tx:
            now = await tx.tasks.get(task.id)
            if now.state is TaskState.QUEUED:
                failure = Failure(FailureReason.BAD_INPUT, message)
                await self._settlement.end(tx, now, TaskState.FAILED, failure=failure, outputs=())

    async def _explain(self, task: Task, reason: str) -> None:
        if task.waiting_reason == reason:
            return
        async with self._store.transaction() as tx:
            await tx.tasks.swap(task, replace(task, waiting_reason=reason, updated_at=tx.now()))
            tx.on_commit(lambda: self._wakes.task_changed(task.id))

    async def explain_waiting(self) -> None:
        """Tells each task that waits for a worker why it does, and wakes polls for those whose time has come."""
        await self._waiting.explain()

    async def give_up_late(self) -> None:
        """Ends the tasks that should have started by now."""
        await self._waiting.give_up_late()
