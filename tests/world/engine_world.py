"""The services of the task engine on one store, without a wire, and a kind of task that does nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lodeworks_controller.domain.identity import InstallationRole, Principal
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.attempt import Outcome
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.retry import Backoff
from lodeworks_controller.domain.task.run import Input, Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import NewTask, ObjectRef, Task
from lodeworks_controller.domain.worker import Capabilities, Gpu, Worker
from lodeworks_controller.errors import (
    BadOutputError,
    InvalidError,
)
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.checkpoint_service import CheckpointService
from lodeworks_controller.service.completion import Completion
from lodeworks_controller.service.finishing import Finishing
from lodeworks_controller.service.granting import Grant, GrantService, PollAsk
from lodeworks_controller.service.kinds.base import Commit, Kinds, Product
from lodeworks_controller.service.lease import LeaseReport, LeaseService, Registration, RunningLease, Verdict
from lodeworks_controller.service.planning import Planning
from lodeworks_controller.service.reaping import Reaping
from lodeworks_controller.service.remembered_leases import RememberedLeases
from lodeworks_controller.service.reuse import Reuse
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.storage.database.unit import SqlStore

ADMIN = Principal("u" * 26, "ada", InstallationRole.ADMINISTRATOR)
OFFERS = Capabilities(names=frozenset({"builtin:nothing"}))


class NothingKind:
    """Runs nothing and makes an object of that name."""

    name = "nothing"

    def __init__(self) -> None:
        self.abandoned: list[tuple[str, FailureReason]] = []

    async def prepare(self, task: Task) -> RunSpec:
        if task.spec.get("bad"):
            raise InvalidError("BAD", "its inputs make no run")
        given = tuple(Input("data", digest, 1) for digest in task.spec.get("inputs", ()))
        return RunSpec(
            executor=task.spec.get("executor", "builtin:nothing"),
            inputs=given,
            settings_yaml=task.spec.get("settings", ""),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        if any(output.role == "broken" for output in outputs):
            raise BadOutputError("not a table", file="scores.tsv", line=3)

        async def commit(tx: Transaction) -> Product:
            return ObjectRef("thing", task.id, "thing@1")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        self.abandoned.append((task.id, reason))
        return None


class Engine:
    """The services of the engine on one store, with a clock that stands until moved."""

    def __init__(self, store: SqlStore, clock: list[datetime]) -> None:
        self.store = store
        self.clock = clock
        ids = ulids(lambda: clock[0])
        self.wakes = Wakes()
        self.kind = NothingKind()
        kinds = Kinds([self.kind])
        terms = LeaseTerms()
        self.terms = terms
        settlement = Settlement(kinds, wakes=self.wakes)
        ends = AttemptEnd(wakes=self.wakes, backoff=Backoff(), chance=lambda: 0.5)
        self.tasks = TaskService(store, settlement=settlement, enter=allow, wakes=self.wakes, ids=ids)
        self.missing: set[str] = set()
        remembered = RememberedLeases()
        self.leases = LeaseService(
            store,
            ends=ends,
            wakes=self.wakes,
            ids=ids,
            terms=terms,
            find_missing=self.find_missing,
            log_tail=no_tail,
            remembered=remembered,
        )
        self.grants = GrantService(store, wakes=self.wakes, terms=terms, chance=lambda: 0.5, remembered=remembered)
        self.checkpoints = CheckpointService(store, find_missing=self.find_missing)
        self.planning = Planning(
            store,
            kinds,
            settlement=settlement,
            wakes=self.wakes,
            terms=terms,
            reuse=Reuse(store, find_missing=self.find_missing, release="1"),
        )
        self.finishing = Finishing(store, kinds, settlement=settlement, wakes=self.wakes)
        self.reaping = Reaping(store, ends=ends, wakes=self.wakes)
        self.ids = ids

    async def find_missing(self, digests: Sequence[str]) -> set[str]:
        return self.missing & set(digests)

    def pass_s(self, seconds: float) -> None:
        self.clock[0] += timedelta(seconds=seconds)

    async def add_worker(self, name: str, *, gpus: int = 0, capabilities: Capabilities = OFFERS) -> tuple[str, str]:
        worker_id = self.ids()
        async with self.store.transaction() as tx:
            await tx.workers.insert(Worker(worker_id, name, self.clock[0]))
        return worker_id, await self.register(worker_id, gpus=gpus, capabilities=capabilities)

    async def register(
        self,
        worker_id: str,
        *,
        gpus: int = 0,
        capabilities: Capabilities = OFFERS,
        running: tuple[RunningLease, ...] = (),
        boot_id: str = "",
    ) -> str:
        slots = tuple(Gpu(f"GPU-{number}") for number in range(gpus))
        told = Registration(boot_id or self.ids(), capabilities=capabilities, gpus=slots, running=running)
        self.session = await self.leases.register(worker_id, told)
        return self.session.id

    async def submit(self, **more: object) -> Task:
        wish = NewTask("nothing", "p" * 26, "a task", {}, requires=frozenset({"builtin:nothing"}))
        async with self.store.transaction() as tx:
            return await self.tasks.submit(tx, replace(wish, **more))  # type: ignore[arg-type]

    async def plan(self) -> None:
        await self.planning.plan_ready()
        await self.planning.drain()

    async def finish(self) -> None:
        await self.finishing.finish_ready()
        await self.finishing.drain()

    async def poll(
        self,
        worker: tuple[str, str],
        *,
        most: int = 1,
        wait_s: float = 0.0,
        seq: int = 0,
        used: frozenset[str] = frozenset(),
    ):
        return await self.grants.poll(worker[0], PollAsk(worker[1], most, wait_s, seq, used_gpu_uuids=used))

    async def lease(self, worker: tuple[str, str]) -> Grant:
        await self.plan()
        (grant,) = (await self.poll(worker)).grants
        return grant

    async def complete(self, worker: tuple[str, str], grant: Grant, **more: object) -> None:
        told = Completion(self.ids(), grant.task.id, grant.task.lease.epoch, Outcome.SUCCEEDED)
        await self.leases.complete(worker[0], replace(told, **more))  # type: ignore[arg-type]

    async def report(self, worker: tuple[str, str], grant: Grant) -> Verdict:
        one = LeaseReport(grant.task.id, grant.task.lease.epoch, "running", 0.5, "half")
        ((_, verdict),) = await self.leases.report(worker[0], worker[1], [one])
        return verdict

    async def get(self, task: Task) -> Task:
        return await self.tasks.get(ADMIN, task.id)


async def allow(tx: object, principal: object, project_id: str, role: object) -> None:
    return None


async def no_tail(task_id: str, lease_epoch: int) -> Sequence[str]:
    return ["the last line"]
