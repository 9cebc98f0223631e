"""Noticing workers that fall silent and come back, so that each is told once."""

from collections.abc import Mapping
from typing import Protocol

from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.worker import WorkerState
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.wake import Wakes


class PresenceRows(Protocol):
    """What was told of workers, as one transaction sees it. No method commits."""

    async def all(self) -> Mapping[str, bool]:
        """Returns whether each worker was there when last looked."""
        ...

    async def put(self, worker_id: str, *, online: bool) -> None:
        """Notes that a worker came or went."""
        ...

    async def remove(self, worker_id: str) -> None:
        """Forgets a worker that was removed."""
        ...


class Presence:
    """Looks who is there."""

    def __init__(self, store: Store, *, terms: LeaseTerms, wakes: Wakes) -> None:
        self._store = store
        self._terms = terms
        self._wakes = wakes

    async def look(self) -> None:
        """Tells of workers that fell silent or came back since the last look."""
        async with self._store.snapshot() as tx:
            now = {
                worker.id: worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s)
                for worker in await tx.workers.list()
            }
            before = await tx.presence.all()
        there = {one: state is WorkerState.ONLINE for one, state in now.items() if state is not WorkerState.PENDING}
        if there == before:
            return
        async with self._store.transaction() as tx:
            before = await tx.presence.all()
            workers = {worker.id: worker for worker in await tx.workers.list()}
            for worker_id in before.keys() - workers.keys():
                await tx.presence.remove(worker_id)
            for worker_id, online in there.items():
                worker, was = workers.get(worker_id), before.get(worker_id)
                if worker is None or was is online:
                    continue
                await tx.presence.put(worker_id, online=online)
                if was is None and online:
                    continue  # its first coming is no news
                since = "" if worker.last_seen_at is None else worker.last_seen_at.isoformat(timespec="seconds")
                told = {"worker_id": worker_id, "name": worker.name, "since": since}
                await tx.outbox.add("worker.back" if online else "worker.lost", told, subject=worker_id)
            tx.on_commit(self._wakes.outbox.set)
