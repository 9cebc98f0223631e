"""Finishing: a run that is over becomes an object, or its failure is settled, in one transaction."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, Task
from lodeworks_controller.errors import ConflictError, ExhaustedError, GuardError, LodeworksError, UnavailableError
from lodeworks_controller.service.kinds.base import Commit, Kinds
from lodeworks_controller.service.role import RoleLostError
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.tasks_in_hand import LOOK_AT, TasksInHand
from lodeworks_controller.service.wake import Wakes

_log = logging.getLogger(__name__)

_TRIES = 5
_LONGEST_S = 60.0


class Finishing:
    """Takes FINISHING tasks to their end, several at once. Each step may be repeated after a crash."""

    def __init__(self, store: Store, kinds: Kinds, *, settlement: Settlement, wakes: Wakes, at_once: int = 4) -> None:
        self._store = store
        self._kinds = kinds
        self._settlement = settlement
        self._wakes = wakes
        self._slots = asyncio.Semaphore(at_once)
        self._outputs: dict[str, tuple[int, Sequence[Output]]] = {}
        self._in_hand = TasksInHand("finish", work=self._finish, look_again=wakes.finisher.set)

    async def finish_ready(self) -> None:
        """Starts to finish tasks whose run is over; returns before they are done."""
        if self._in_hand.full:
            return
        async with self._store.snapshot() as tx:
            ready = await tx.tasks.finishing(now=tx.now(), limit=LOOK_AT)
        self._in_hand.take_up(ready)

    async def finish_handed(self) -> None:
        """Starts to finish the tasks that were handed over; looks for those whose run is over where none was."""
        if self._in_hand.full:
            return
        handed = self._wakes.finisher.take(self._in_hand.room)
        if not handed:
            await self.finish_ready()
            return
        self._outputs.update({task.id: (task.lease.epoch, outputs) for task, outputs in handed})
        self._in_hand.take_over([task for task, _ in handed])

    async def drain(self) -> None:
        """Waits for what is being finished."""
        await self._in_hand.drain()

    async def stop(self) -> None:
        """Ends the work begun; it is done again after the next start."""
        await self._in_hand.stop()

    async def _finish(self, task: Task) -> None:
        try:
            await self._attempt(task)
        except RoleLostError:
            raise
        except Exception:  # noqa: BLE001 (without this it would be tried each second, and nobody told)
            _log.exception("task %s (%s) could not be settled", task.id, task.kind)
            await self._later(task, "the controller could not settle the task; it tries again, its log says why")

    async def _left(self, task: Task) -> Sequence[Output]:
        epoch, outputs = self._outputs.pop(task.id, (-1, ()))
        if epoch == task.lease.epoch:
            return outputs
        async with self._store.snapshot() as tx:
            return await tx.tasks.outputs(task.id, task.lease.epoch)

    async def _attempt(self, task: Task) -> None:
        outputs = await self._left(task)
        if task.failure is not None:
            await self._end(task, task.failure, outputs)
            return
        try:
            async with self._slots:
                commit = await self._kinds.get(task.kind).finish(task, outputs)
            if outputs or not await self._settled_at_once(task, commit):
                await self._succeed(task, commit)
        except RoleLostError:
            raise
        except (UnavailableError, ExhaustedError) as error:
            await self._later(task, error.message)
        except LodeworksError as error:
            reason = FailureReason.GUARD if isinstance(error, GuardError) else FailureReason.BAD_OUTPUT
            await self._end(task, Failure(reason, _with_place(error)), outputs)
        except Exception:  # noqa: BLE001 (a kind's fault must not end the finisher)
            _log.exception("the outputs of task %s (%s) could not be stored", task.id, task.kind)
            if task.finish_tries + 1 < _TRIES:
                await self._later(task, "the controller could not store the outputs yet; it tries again")
            else:
                message = "the controller could not store the outputs; see its log"
                await self._end(task, Failure(FailureReason.BAD_OUTPUT, message), outputs)

    async def _settled_at_once(self, task: Task, commit: Commit) -> bool:
        """Settles a task that left nothing as it was handed over; says whether it still stood so."""
        try:
            async with self._store.transaction(brief=True) as tx:
                await self._settlement.succeed(tx, task, await commit(tx))
        except ConflictError as error:
            if error.reason != "TASK_CHANGED":
                raise
            return False
        return True

    async def _succeed(self, task: Task, commit: Commit) -> None:
        async with self._store.transaction() as tx:
            now = await tx.tasks.get(task.id)
            if now.state is not TaskState.FINISHING:
                return  # an earlier try got through
            await self._settlement.succeed(tx, now, await commit(tx))

    async def _end(self, task: Task, failure: Failure, outputs: Sequence[Output]) -> None:
        state = TaskState.CANCELLED if failure.reason is FailureReason.CANCELLED else TaskState.FAILED
        async with self._store.transaction() as tx:
            now = await tx.tasks.get(task.id)
            if now.state is TaskState.FINISHING:
                await self._settlement.end(tx, now, state, failure=failure, outputs=outputs)

    async def _later(self, task: Task, message: str) -> None:
        async with self._store.transaction() as tx:
            wait = timedelta(seconds=min(_LONGEST_S, 2.0 ** min(task.finish_tries, 16)))
            later = replace(
                task,
                finish_tries=task.finish_tries + 1,
                not_before=tx.now() + wait,
                message=message,
                updated_at=tx.now(),
            )
            await tx.tasks.swap(task, later)


def _with_place(error: LodeworksError) -> str:
    file, line = error.metadata.get("file", ""), error.metadata.get("line", "")
    place = f"{file}:{line}" if line else file
    return f"{place}: {error.message}" if place and place not in error.message else error.message
