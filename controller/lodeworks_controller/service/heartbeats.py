"""Heartbeats: what only says that a worker and its runs are still there is written for all of them together."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.store import Store

_log = logging.getLogger(__name__)

_GATHER_S: Final = 0.5
_SHARE: Final = 0.1
"""Of a lease's time to live; heartbeats are never gathered for longer."""


class Heartbeats:
    """Gathers heartbeats for half a second and writes them in one unit of work.

    Losing some costs nothing: after a start of the controller nobody is thought lost before a lease's whole time.
    """

    def __init__(self, store: Store, *, terms: LeaseTerms) -> None:
        self._store = store
        self._terms = terms
        self._workers: set[str] = set()
        self._leases: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None
        self._stopped = False

    def beat(self, worker_id: str, tasks: Iterable[Task]) -> None:
        """Notes that a worker was heard of, and that its leases live on."""
        self._workers.add(worker_id)
        self._leases.update({task.id: task.lease.epoch for task in tasks})
        if self._writing is None and not self._stopped:
            self._writing = asyncio.create_task(self._write_on(), name="heartbeats")

    async def stop(self) -> None:
        """Ends the writing; what is heard from now on is not written."""
        self._stopped = True
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing

    async def _write_on(self) -> None:
        """Writes every half second for as long as there is something."""
        try:
            while self._workers:
                await asyncio.sleep(min(_GATHER_S, self._terms.ttl_s * _SHARE))
                await self._write()
        finally:
            self._writing = None

    async def _write(self) -> None:
        workers, self._workers = self._workers, set()
        leases, self._leases = self._leases, {}
        try:
            async with self._store.transaction(heartbeat=True) as tx:
                await tx.workers.seen(sorted(workers), at=tx.now())
                await tx.tasks.prolong(leases, until=self._terms.expiry(tx.now()))
        except Exception:  # noqa: BLE001 (the next heartbeats say the same)
            _log.exception("heartbeats were not written")
