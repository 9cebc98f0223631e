"""The workers of an installation, as people administer them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import AgentIdentity, AgentKind, Principal
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.worker import Directive, DirectiveKind, Gpu, Worker, WorkerState
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

Revoke = Callable[[Transaction, AgentIdentity], Awaitable[None]]
"""Ends an agent's certificates inside the unit of work."""


class WorkerRows(Protocol):
    """The workers as one transaction sees them. No method commits."""

    async def get(self, worker_id: str) -> Worker:
        """Returns the worker, or raises NotFoundError."""
        ...

    async def find(self, name_or_id: str) -> Worker:
        """Returns the worker of that name or id, or raises NotFoundError."""
        ...

    async def insert(self, worker: Worker) -> None:
        """Stores a new worker; raises ExistsError if the name is taken."""
        ...

    async def put(self, worker: Worker) -> None:
        """Stores how a worker stands."""
        ...

    async def seen(self, worker_ids: Sequence[str], *, at: datetime) -> None:
        """Notes that workers were heard of."""
        ...

    async def directed(self) -> Mapping[str, int]:
        """Returns the newest order of each worker that has some: worker id → seq."""
        ...

    async def delete(self, worker_id: str) -> None:
        """Removes a worker, its GPUs and its directives."""
        ...

    async def list(self) -> Sequence[Worker]:
        """Returns the workers by name."""
        ...

    async def gpus(self, worker_id: str) -> Sequence[Gpu]:
        """Returns the GPUs of a worker, by uuid."""
        ...

    async def all_gpus(self) -> Mapping[str, Sequence[Gpu]]:
        """Returns the GPUs by worker id."""
        ...

    async def put_gpus(self, worker_id: str, gpus: Sequence[Gpu]) -> None:
        """Stores which GPUs a worker has now; those held stay held."""
        ...

    async def hold_gpus(self, worker_id: str, uuids: Sequence[str], *, task_id: str) -> bool:
        """Gives free GPUs to a task, all or none; says whether it got them."""
        ...

    async def gpus_of(self, task_id: str) -> Sequence[str]:
        """Returns the uuids that a task holds."""
        ...

    async def free_gpus(self, task_id: str) -> None:
        """Takes a task's GPUs back."""
        ...

    async def add_directive(
        self, worker_id: str, kind: DirectiveKind, *, task_id: str = "", lease_epoch: int = 0
    ) -> None:
        """Notes an order for the worker's session."""
        ...

    async def directives(self, worker_id: str, *, after_seq: int) -> Sequence[Directive]:
        """Returns the orders that the worker has not acted on."""
        ...

    async def clear_directives(self, worker_id: str) -> None:
        """Forgets the orders of a session that is over."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker with what is known of it at this moment."""

    worker: Worker
    state: WorkerState
    gpus: Sequence[Gpu]
    task_ids: Sequence[str]


class WorkerService:
    """Shows, drains and removes workers."""

    def __init__(self, store: Store, *, revoke: Revoke, wakes: Wakes, terms: LeaseTerms) -> None:
        self._store = store
        self._revoke = revoke
        self._wakes = wakes
        self._terms = terms

    async def get(self, name_or_id: str) -> WorkerView:
        """Returns one worker."""
        async with self._store.snapshot() as tx:
            return await self._view(tx, await tx.workers.find(name_or_id))

    async def list(self) -> Sequence[WorkerView]:
        """Returns the workers by name."""
        async with self._store.snapshot() as tx:
            return [await self._view(tx, worker) for worker in await tx.workers.list()]

    async def drain(self, principal: Principal, name_or_id: str) -> WorkerView:
        """Lets a worker finish what it runs and gives it nothing new. Repeating it is harmless."""
        return await self._set_draining(principal, name_or_id, draining=True)

    async def undrain(self, principal: Principal, name_or_id: str) -> WorkerView:
        """Gives a worker tasks again. Repeating it is harmless."""
        return await self._set_draining(principal, name_or_id, draining=False)

    async def delete(self, principal: Principal, name_or_id: str, *, request_id: str = "") -> None:
        """Removes a worker that holds no task, and ends its certificates."""
        require_administrator(principal)
        once = Once(principal.actor, "worker.delete", request_id)
        async with self._store.transaction() as tx:
            if await once.result(tx) is not None:
                return
            worker = await tx.workers.find(name_or_id)
            held = await tx.tasks.held_by(worker.id)
            if held:
                raise ConflictError(
                    "WORKER_BUSY",
                    f"worker {worker.name} runs {len(held)} task{'s' if len(held) > 1 else ''}; "
                    f"drain it first with `lode worker drain {worker.name}`, or cancel them",
                )
            await self._revoke(tx, AgentIdentity(AgentKind.WORKER, worker.id))
            await tx.workers.delete(worker.id)
            await once.keep(tx, worker.id)
            await tx.audit.add("worker.delete", worker.id, actor=principal.actor, detail={"name": worker.name})
            tx.on_commit(lambda: self._wakes.ring(worker.id))

    async def _set_draining(self, principal: Principal, name_or_id: str, *, draining: bool) -> WorkerView:
        require_administrator(principal)
        async with self._store.transaction() as tx:
            worker = await tx.workers.find(name_or_id)
            if worker.draining != draining:
                worker = replace(worker, draining=draining)
                await tx.workers.put(worker)
                kind = DirectiveKind.DRAIN if draining else DirectiveKind.UNDRAIN
                await tx.workers.add_directive(worker.id, kind)
                await tx.audit.add(f"worker.{kind.value}", worker.id, actor=principal.actor)
                tx.on_commit(lambda: self._wakes.ring(worker.id))
                tx.on_commit(self._wakes.placer.set)
            return await self._view(tx, worker)

    async def _view(self, tx: Transaction, worker: Worker) -> WorkerView:
        state = worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s)
        held = [task.id for task in await tx.tasks.held_by(worker.id)]
        return WorkerView(worker, state, await tx.workers.gpus(worker.id), held)
