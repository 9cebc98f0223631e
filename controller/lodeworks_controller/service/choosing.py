"""Choosing: which waiting tasks a worker gets. The rules are in ``domain/task``; this brings them the facts.

What it costs does not grow with the queue: one step in an index for each lane, and one for each lane that suits. What
runs is counted only where several projects compete, or a quota binds; the reservation only while a big task waits.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lodeworks_controller.domain.task.lane import Head, Lane
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.placement import offer_of
from lodeworks_controller.domain.task.placement_order import Draw
from lodeworks_controller.domain.task.placement_reservation import BIG, Holder, Reservation, Room, reserve
from lodeworks_controller.domain.task.quota import Quotas, Use
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.domain.worker import Gpu, Worker, WorkerState
from lodeworks_controller.service.quota import RememberedQuotas
from lodeworks_controller.service.store import Transaction

_LOOK_AHEAD = 32
"""How many tasks of a lane are looked at for one that may go before a big task."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a worker may be given, and what is kept from it."""

    worker_id: str
    at: datetime
    draw: Draw[Head | Task]
    load: Callable[[Lane], Awaitable[Sequence[Task]]]
    """Returns the first tasks of a lane; asked for only when it is the lane's turn."""
    reservation: Reservation | None = None
    big: tuple[Lane, Task] | None = None
    """The big task that this worker is kept for, if its GPUs are free now; it goes first."""

    async def turns(self) -> AsyncIterator[tuple[Lane, Task]]:
        """Yields one task after the other; whoever takes one tells the draw so before asking for the next."""
        if self.big is not None:
            yield self.big
        while turn := self.draw.next():
            lane, first = turn
            if isinstance(first, Head):
                tasks = await self.load(lane)
                if not tasks:
                    continue
                self.draw.put(lane, tasks[1:])
                first = tasks[0]
            if self.big is not None and first.id == self.big[1].id:
                continue
            if self._may_start(lane, first):
                yield lane, first

    def _may_start(self, lane: Lane, task: Task) -> bool:
        kept = self.reservation
        if kept is None or self.big is not None:
            return True
        if task.id == kept.task_id:
            return not kept.missing
        limit_s = task.limits.run_timeout_s
        return kept.allows(worker_id=self.worker_id, gpus=lane.wants.gpus, run_timeout_s=limit_s, at=self.at)


class Choosing:
    """Finds the tasks that suit a worker, in the order of their turns."""

    def __init__(self, *, terms: LeaseTerms) -> None:
        self._terms = terms
        self._quotas = RememberedQuotas()

    async def choose(self, tx: Transaction, worker: Worker, *, gpus_free: int, limit: int) -> Choice | None:
        """Returns what the worker may be given now; None when there is nothing.

        Args:
            tx: The unit of work.
            worker: Who asks.
            gpus_free: GPUs of it that no task holds.
            limit: How many tasks it would take.
        """
        heads = await tx.tasks.heads(now=tx.now())
        offer = offer_of(worker, gpus=gpus_free)
        suiting: dict[Lane, Sequence[Head | Task]] = {
            head.lane: [head] for head in heads if head.lane.wants.suits(offer)
        }
        if not suiting:
            return None
        lanes = [head.lane for head in heads]
        quotas = await self._quotas.at(tx)
        held = await tx.tasks.uses() if _counts(lanes, quotas) else {}
        big = any(lane.wants.gpus >= BIG for lane in lanes)
        ahead = max(limit, _LOOK_AHEAD) if big else limit

        async def load(lane: Lane) -> Sequence[Task]:
            return await tx.tasks.front(lane, now=tx.now(), limit=ahead)

        choice = Choice(worker.id, tx.now(), Draw(suiting, held=held, quotas=quotas), load)
        found = await self.reservation(tx, lanes, quotas=quotas, held=held) if big else None
        if found is None:
            return choice
        kept, lane, task = found
        mine = kept.worker_id == worker.id and not kept.missing
        return replace(choice, reservation=kept, big=(lane, task) if mine else None)

    async def reservation(
        self, tx: Transaction, lanes: Sequence[Lane], *, quotas: Quotas, held: Mapping[tuple[str, str], Use]
    ) -> tuple[Reservation, Lane, Task] | None:
        """Returns what is kept for the oldest big task that could start but for its GPUs; None when there is none."""
        big = [lane for lane in lanes if lane.wants.gpus >= BIG]
        fronts = {lane: await tx.tasks.front(lane, now=tx.now(), limit=1) for lane in big}
        draw = Draw[Task]({}, held=held, quotas=quotas)
        waiting = [(tasks[0], lane) for lane, tasks in fronts.items() if tasks and not draw.over_quota(lane)]
        if not waiting:
            return None
        slots = await tx.workers.all_gpus()
        for task, lane in sorted(waiting, key=lambda one: one[0].id):
            found = reserve(task.id, lane.wants.gpus, await self._rooms(tx, lane, slots), at=tx.now())
            if found is not None:
                return found, lane, task
        return None

    async def _rooms(self, tx: Transaction, lane: Lane, slots: Mapping[str, Sequence[Gpu]]) -> Sequence[Room]:
        large = {worker_id: gpus for worker_id, gpus in slots.items() if len(gpus) >= lane.wants.gpus}
        able = []
        for worker in await tx.workers.list() if large else ():
            gpus = large.get(worker.id)
            online = worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s) is WorkerState.ONLINE
            if gpus and online and not worker.draining and lane.wants.suits(offer_of(worker, gpus=len(gpus))):
                able.append((worker.id, gpus))
        ids = {gpu.task_id for _, gpus in able for gpu in gpus if gpu.task_id}
        holders = {task.id: task for task in await tx.tasks.many(ids)}
        return [Room(worker_id, len(gpus), _holders(gpus, holders)) for worker_id, gpus in able]


def _holders(gpus: Sequence[Gpu], tasks: Mapping[str, Task]) -> tuple[Holder, ...]:
    numbers: dict[str, int] = {}
    for gpu in gpus:
        if gpu.task_id:
            numbers[gpu.task_id] = numbers.get(gpu.task_id, 0) + 1
    return tuple(Holder(number, _ends_at(tasks.get(task_id))) for task_id, number in sorted(numbers.items()))


def _ends_at(task: Task | None) -> datetime | None:
    if task is None or task.started_at is None or not task.limits.run_timeout_s:
        return None
    return task.started_at + timedelta(seconds=task.limits.run_timeout_s)


def _counts(lanes: Sequence[Lane], quotas: Quotas) -> bool:
    if len({lane.project_id for lane in lanes}) > 1:
        return True
    return any(quotas.limits_runs(lane.project_id, lane.user_id) for lane in lanes)
