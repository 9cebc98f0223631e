"""A controller process of the simulated installation: the real engine, its roles and servicers, on simulated ground."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lodeworks.agent.worker.v1 import content_pb2_grpc, log_pb2_grpc, worker_pb2_grpc
from lodeworks_controller.domain.identity import AgentIdentity, AgentKind
from lodeworks_controller.domain.task.run import Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, InvalidError, UnavailableError
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.transport.agent_content import LeaseContentServicer
from lodeworks_controller.transport.worker_agent import WorkerAgentServicer, WorkerLogServicer
from lodeworks_controller.wiring.engine import Engine
from lodeworks_controller.wiring.ground import Ground
from simulated_network import Services
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lodeworks_controller.config import Config
    from lodeworks_controller.domain.task.lease import LeaseTerms
    from lodeworks_controller.domain.task.state import FailureReason
    from lodeworks_controller.service.kinds.base import Commit, Product
    from lodeworks_controller.service.store import Transaction
    from lodeworks_controller.storage.blobs.disk import DiskBlobStore
    from lodeworks_controller.storage.database.unit import SqlStore
    from simulated_loop import Party

RESULT = "result.txt"
_SLOWER = 2.5
"""Ticks stand behind wakes, and most of what they find is nothing."""
_MOODY_TRIES = 4
_log = logging.getLogger("simulated.controller")


class MadeKind:
    """A kind whose object is a row: READY in the transaction that makes its task SUCCEEDED, as every kind promises.

    `mood` says by chance (0 to 1) that the kind has a bad moment.
    """

    name = "made"

    def __init__(self, mood: Callable[[], float]) -> None:
        self._mood = mood

    async def prepare(self, task: Task) -> RunSpec:
        await asyncio.sleep(0.01)
        if task.spec.get("bad_input"):
            raise InvalidError("BAD", "its inputs make no run")
        if self._mood() < float(task.spec.get("moody", 0.0)):
            raise UnavailableError("BUSY", "the controller is busy")
        return RunSpec(
            executor="builtin:made",
            resources=task.resources,
            limits=task.limits,
            outputs=(OutputSlot(RESULT, required=True), OutputSlot("extra/*")),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        await asyncio.sleep(0.02)
        if task.finish_tries < _MOODY_TRIES and self._mood() < float(task.spec.get("moody", 0.0)):
            raise UnavailableError("BUSY", "the controller is busy")
        if task.spec.get("bad_output"):
            raise BadOutputError("not a table", file=RESULT, line=3)
        digests = ",".join(sorted(output.digest for output in outputs))

        async def commit(tx: Transaction) -> Product:
            await _put(tx, task, state="ready", digests=digests)
            return ObjectRef("thing", task.id, "thing@1")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        await _put(tx, task, state="abandoned", digests="")
        return None


async def _put(tx: Transaction, task: Task, *, state: str, digests: str) -> None:
    """Writes the object's row on the transaction's own connection."""
    statement = text(
        "INSERT INTO objects VALUES (:task_id, :state, :epoch, :digests) ON CONFLICT (task_id) DO UPDATE "
        "SET state = excluded.state, lease_epoch = excluded.lease_epoch, digests = excluded.digests"
    )
    values = {"task_id": task.id, "state": state, "epoch": task.lease.epoch, "digests": digests}
    await cast("Any", tx)._connection.execute(statement, values)


class SimulatedTicks:
    """The clockwork in simulated time; a tick that is still at work is not begun again."""

    def __init__(self) -> None:
        self._wanted: list[tuple[float, str, Callable[[], Awaitable[None]]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, tick: Callable[[], Awaitable[None]]) -> None:
        self._wanted.append((seconds, name, tick))

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(*one)) for one in self._wanted]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self, seconds: float, name: str, tick: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds * _SLOWER)
            try:
                await tick()
            except Exception:  # noqa: BLE001
                _log.exception("the %s failed; it goes on with its next tick", name)


class SimulatedController:
    """One life of a controller process."""

    def __init__(
        self,
        party: Party,
        name: str,
        *,
        config: Config,
        store: SqlStore,
        blobs: DiskBlobStore,
        clock: Any,
        ids: Callable[[], str],
        chance: Callable[[], float],
        terms: LeaseTerms,
    ) -> None:
        self.party = party
        self.services = Services(party, name)
        ground = Ground(
            config=config,
            clock=clock,
            ids=ids,
            store=store,
            blobs=blobs,
            kept=blobs,
            trust=cast("Any", SimpleNamespace(repository=SimpleNamespace(refresh=_nothing))),
            pool=cast("Any", None),
            wakes=Wakes(),
            terms=terms,
        )
        self.store = store
        self.engine = Engine(ground, chance=chance, clockwork=lambda: cast("Any", SimulatedTicks()))
        self.kind = MadeKind(chance)
        self.engine.kinds.add(self.kind)
        gate = SimpleNamespace(worker=lambda context: AgentIdentity(AgentKind.WORKER, context.worker_id))
        workers = WorkerAgentServicer(
            self.engine.leases,
            self.engine.grants,
            self.engine.checkpoints,
            agent=gate.worker,
            terms=terms,
            version="1",
        )
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(workers, self.services)
        log_pb2_grpc.add_LogServiceServicer_to_server(
            WorkerLogServicer(self.engine.logs, agent=gate.worker), self.services
        )
        content = LeaseContentServicer(ContentService(store, blobs), gate=cast("Any", gate))
        content_pb2_grpc.add_ContentServiceServicer_to_server(content, self.services)

    async def live(self) -> None:
        """Runs the roles until the process dies."""
        with suppress(asyncio.CancelledError):
            async with self.engine.running():
                await asyncio.get_running_loop().create_future()


async def _nothing() -> bool:
    return False
