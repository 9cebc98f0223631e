"""Granting: an open poll is answered with tasks and directives as soon as there are some."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lodeworks_controller.domain.task.attempt import Attempt
from lodeworks_controller.domain.task.lease import LeaseTerms, granted
from lodeworks_controller.domain.task.placement import offer_of, pick_gpus
from lodeworks_controller.domain.task.run import RunSpec
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.domain.worker import Directive, Worker
from lodeworks_controller.service.checkpoint import with_checkpoint
from lodeworks_controller.service.choosing import Choosing
from lodeworks_controller.service.lease import check_session
from lodeworks_controller.service.meter import Meter, NoMeter
from lodeworks_controller.service.remembered_leases import RememberedLeases
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import swap
from lodeworks_controller.service.wake import Wakes

LOOK_AGAIN_S = 1.0
"""Wakes are hints: work whose hint was lost is found this much later."""
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class PollAsk:
    """What a worker would take."""

    session: str
    max_leases: int
    wait_s: float
    have_directive_seq: int = 0
    free_gpu_uuids: frozenset[str] = frozenset()
    used_gpu_uuids: frozenset[str] = frozenset()
    """Those whose memory a program outside of the platform uses."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A task leased to a worker, and all it needs to run it."""

    task: Task
    run: RunSpec
    gpu_uuids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """Grants and orders; both empty when the wait ended."""

    grants: tuple[Grant, ...] = ()
    directives: tuple[Directive, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.grants or self.directives)


class GrantService:
    """Answers polls."""

    def __init__(
        self,
        store: Store,
        *,
        wakes: Wakes,
        terms: LeaseTerms,
        chance: Callable[[], float],
        meter: Meter | None = None,
        look_again_s: float = LOOK_AGAIN_S,
        remembered: RememberedLeases | None = None,
    ) -> None:
        self._store = store
        self._remembered = remembered or RememberedLeases()
        self._meter = meter or NoMeter()
        self._wakes = wakes
        self._terms = terms
        self._chance = chance
        self._look_again_s = look_again_s
        self._choosing = Choosing(terms=terms)

    async def poll(self, worker_id: str, ask: PollAsk) -> PollAnswer:
        """Waits for grants and directives; empty after about the wait. Safe to repeat."""
        async with self._store.snapshot(brief=True) as tx:
            worker = await check_session(tx, worker_id, ask.session)
            gpus = await tx.workers.gpus(worker_id)
        loop = asyncio.get_running_loop()
        wait_s = max(0.0, min(ask.wait_s, self._terms.poll_wait_s))
        deadline = loop.time() + wait_s * (1 - _SPREAD + 2 * _SPREAD * self._chance())
        room = 0 if worker.draining else max(0, ask.max_leases)
        with self._wakes.polling(worker_id, offer=offer_of(worker, gpus=len(gpus)), room=room) as bell:
            bell.have_seq = ask.have_directive_seq
            rung = False
            while True:
                # Cleared before the claim: what comes meanwhile rings again.
                bell.clear()
                if rung or await self._something(worker_id, ask):
                    answer = await self._claim(worker_id, ask)
                    if answer:
                        return answer
                if rung and ask.max_leases <= 0:
                    # A run of a full worker is over: it asks again at once, now with room.
                    return PollAnswer()
                left = deadline - loop.time()
                if left <= 0 or self._wakes.closing:
                    return PollAnswer()
                rung = await bell.signal.wait(min(self._look_again_s, left))

    async def look_round(self) -> None:
        """Rings the polls whose orders or grants may have been lost, for all of them at once; called every second.

        For tasks that wait the placer rings, as it tells them why they do.
        """
        bells = self._wakes.bells()
        if not bells:
            return
        async with self._store.snapshot(brief=True) as tx:
            before = tx.now() - timedelta(seconds=self._terms.resend_after_s)
            owners = set(await tx.tasks.unlisted_owners(granted_before=before))
            directed = await tx.workers.directed()
        for bell in bells:
            if bell.worker_id in owners or directed.get(bell.worker_id, 0) > bell.have_seq:
                bell.signal.raise_here()

    async def _something(self, worker_id: str, ask: PollAsk) -> bool:
        """Looks beside the writer whether a claim would find anything."""
        async with self._store.snapshot(brief=True) as tx:
            worker = await check_session(tx, worker_id, ask.session)
            if await tx.workers.directives(worker_id, after_seq=ask.have_directive_seq):
                return True
            if await self._unlisted(tx, worker_id):
                return True
            if ask.max_leases <= 0 or worker.draining:
                return False
            idle = sum(not gpu.task_id for gpu in await tx.workers.gpus(worker_id))
            choice = await self._choosing.choose(tx, worker, gpus_free=idle, limit=1)
            return choice is not None and await anext(choice.turns(), None) is not None

    async def _claim(self, worker_id: str, ask: PollAsk) -> PollAnswer:
        async with self._store.transaction(brief=True) as tx:
            worker = await check_session(tx, worker_id, ask.session)
            directives = await tx.workers.directives(worker_id, after_seq=ask.have_directive_seq)
            grants = [await self._again(tx, task) for task in await self._unlisted(tx, worker_id)]
            room = ask.max_leases - len(grants)
            if room > 0 and not worker.draining:
                grants.extend(await self._grant(tx, worker, ask, room=room))
            return PollAnswer(tuple(grants), tuple(directives))

    async def _unlisted(self, tx: Transaction, worker_id: str) -> Sequence[Task]:
        """Returns the grants whose answer may have been lost: they are sent again."""
        before = tx.now() - timedelta(seconds=self._terms.resend_after_s)
        return await tx.tasks.unlisted(worker_id, granted_before=before)

    async def _again(self, tx: Transaction, task: Task) -> Grant:
        gpus = await tx.workers.gpus_of(task.id) if task.resources.gpus else ()
        return Grant(task, await with_checkpoint(tx, task, await tx.tasks.plan(task.id)), tuple(gpus))

    async def _grant(self, tx: Transaction, worker: Worker, ask: PollAsk, *, room: int) -> Sequence[Grant]:
        gpus = list(await tx.workers.gpus(worker.id))
        idle = sum(not gpu.task_id for gpu in gpus)
        choice = await self._choosing.choose(tx, worker, gpus_free=idle, limit=room)
        leased: list[tuple[Task, tuple[str, ...]]] = []
        if choice is None:
            return ()
        async for lane, task in choice.turns():
            shun = ask.used_gpu_uuids if lane.wants.only_free_gpus else frozenset[str]()
            picked = pick_gpus(gpus, wanted=lane.wants.gpus, free=ask.free_gpu_uuids, shun=shun)
            if picked is None:
                choice.draw.close(lane)
                continue
            if picked:
                if not await tx.workers.hold_gpus(worker.id, picked, task_id=task.id):
                    continue
                gpus = [gpu for gpu in gpus if gpu.uuid not in picked]
            choice.draw.took(lane)
            leased.append((await self._leased(tx, worker, task, gpu_uuids=picked), picked))
            if len(leased) == room:
                break
        plans = await tx.tasks.plans([task.id for task, _ in leased]) if leased else {}
        return [Grant(task, await with_checkpoint(tx, task, plans[task.id]), picked) for task, picked in leased]

    async def _leased(self, tx: Transaction, worker: Worker, task: Task, *, gpu_uuids: tuple[str, ...]) -> Task:
        leased = await swap(tx, task, granted(task, worker_id=worker.id, at=tx.now(), terms=self._terms))
        attempt = Attempt(
            task_id=task.id,
            lease_epoch=leased.lease.epoch,
            number=leased.attempt_no,
            worker_id=worker.id,
            started_at=tx.now(),
            gpu_uuids=gpu_uuids,
        )
        await tx.tasks.add_attempt(attempt)
        tx.on_commit(lambda: self._remembered.keep(leased, attempt))
        tx.on_commit(lambda: self._wakes.task_changed(task.id))
        waited_s = (tx.now() - (task.not_before or task.created_at)).total_seconds()
        tx.on_commit(lambda: self._meter.granted(task.kind, waited_s))
        return leased
