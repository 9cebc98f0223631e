"""Leases: what a worker says about its runs, and what it is given to run.

Every write of an agent carries its lease epoch; a write with an old one is refused. A grant is durable before it is
sent, so a lost reply costs one repeat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.attempt import Attempt, Outcome
from lodeworks_controller.domain.task.lease import LeaseTerms, holds, let_go, moved, reported, revived
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Failure, Task
from lodeworks_controller.domain.worker import Capabilities, DirectiveKind, Gpu, Worker
from lodeworks_controller.errors import ConflictError, NotFoundError, SessionSupersededError, StaleLeaseError
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.checkpoint import forget_checkpoint, keep_last
from lodeworks_controller.service.completion import Completion, FindMissing, LogTail
from lodeworks_controller.service.heartbeats import Heartbeats
from lodeworks_controller.service.meter import Meter, NoMeter
from lodeworks_controller.service.remembered_leases import RememberedLeases
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import swap
from lodeworks_controller.service.wake import Wakes

_FEW = 16
"""So many rows are written where they are asked for; more are a trip to the database's thread."""


@dataclass(frozen=True, slots=True)
class RunningLease:
    """A run that outlived the worker's previous process."""

    task_id: str
    lease_epoch: int
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """What a worker tells when it starts."""

    boot_id: str
    version: str = ""
    hostname: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    gpus: tuple[Gpu, ...] = ()
    running: tuple[RunningLease, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a worker is answered: its session, and which of its runs go on."""

    id: str
    epoch: int
    adopt: tuple[str, ...]
    kill: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What a worker says of one lease."""

    task_id: str
    lease_epoch: int
    phase: str = ""
    progress: float = -1.0
    message: str = ""


class Verdict(Enum):
    """What the controller thinks of a reported lease."""

    OK = "ok"
    LOST = "lost"
    CANCEL = "cancel"


class LeaseService:
    """Registers workers, hears their reports and takes their outcomes."""

    def __init__(
        self,
        store: Store,
        *,
        ends: AttemptEnd,
        wakes: Wakes,
        ids: Ids,
        terms: LeaseTerms,
        find_missing: FindMissing,
        log_tail: LogTail,
        meter: Meter | None = None,
        remembered: RememberedLeases | None = None,
    ) -> None:
        self._meter = meter or NoMeter()
        self._remembered = remembered or RememberedLeases()
        self._store = store
        self._ends = ends
        self._wakes = wakes
        self._ids = ids
        self._terms = terms
        self._heartbeats = Heartbeats(store, terms=terms)
        self._find_missing = find_missing
        self._log_tail = log_tail

    async def stop(self) -> None:
        """Ends the writing of heartbeats."""
        await self._heartbeats.stop()

    async def register(self, worker_id: str, told: Registration) -> Session:
        """Opens a session; settles which runs go on. Safe to repeat."""
        async with self._store.transaction() as tx:
            before = await tx.workers.get(worker_id)
            worker = replace(
                before,
                enrolled=True,
                version=told.version,
                hostname=told.hostname,
                capabilities=told.capabilities,
                session=self._ids(),
                session_epoch=before.session_epoch + 1,
                boot_id=told.boot_id,
                last_seen_at=tx.now(),
            )
            await tx.workers.put(worker)
            await tx.workers.put_gpus(worker_id, told.gpus)
            await tx.workers.clear_directives(worker_id)
            if worker.draining:
                await tx.workers.add_directive(worker_id, DirectiveKind.DRAIN)
            same_process = before.boot_id == worker.boot_id
            adopt, kill = await self._settle_runs(tx, worker, told.running, same_process=same_process)
            await tx.audit.add(
                "worker.register", worker_id, actor=f"worker:{worker_id}", detail={"boot_id": told.boot_id}
            )
            # An older session's polls end, and tasks that waited for such a worker are told anew.
            tx.on_commit(lambda: self._wakes.ring(worker_id))
            tx.on_commit(self._wakes.placer.set)
            return Session(worker.session, worker.session_epoch, tuple(adopt), tuple(kill))

    async def _settle_runs(
        self, tx: Transaction, worker: Worker, running: Sequence[RunningLease], *, same_process: bool
    ) -> tuple[Sequence[str], Sequence[str]]:
        alive = {(run.task_id, run.lease_epoch) for run in running}
        held: dict[tuple[str, int], Task] = {}
        for task in await tx.tasks.held_by(worker.id):
            key = (task.id, task.lease.epoch)
            if key in alive:
                held[key] = task
            elif same_process and task.state is TaskState.LEASED and not task.lease.listed:
                # Granted, but the answer may never have arrived: sent again with the next poll. Not to another process:
                # should two have the worker's key, the first may run it.
                await swap(tx, task, replace(task, lease=replace(task.lease, granted_at=None)))
            else:
                await self._ends.lose(tx, task, why=f"worker {worker.name} came back without the run")
        adopt: list[str] = []
        kill: list[str] = []
        for run in running:
            known = held.get((run.task_id, run.lease_epoch)) or await self._revive(
                tx, worker.id, run.task_id, run.lease_epoch
            )
            if known is None:
                kill.append(run.task_id)
                continue
            adopt.append(run.task_id)
            await self._hear(tx, known, LeaseReport(run.task_id, run.lease_epoch, known.phase, known.progress))
            if known.state is TaskState.CANCELLING:
                await tx.workers.add_directive(
                    worker.id, DirectiveKind.CANCEL, task_id=known.id, lease_epoch=known.lease.epoch
                )
        return adopt, kill

    async def report(
        self, worker_id: str, session: str, reports: Sequence[LeaseReport]
    ) -> Sequence[tuple[LeaseReport, Verdict]]:
        """Hears of the leases that a worker holds and keeps them alive; a verdict for each. Safe to repeat."""
        async with self._store.snapshot(brief=True) as tx:
            await check_session(tx, worker_id, session)
            tasks = await tx.tasks.held_by(worker_id)
            quiet = _says_nothing_new({(task.id, task.lease.epoch): task for task in tasks}, reports)
        if quiet is not None:
            self._heartbeats.beat(worker_id, quiet)
            return [(report, Verdict.OK) for report in reports]
        async with self._store.transaction(brief=True) as tx:
            worker = await check_session(tx, worker_id, session)
            await tx.workers.put(replace(worker, last_seen_at=tx.now()))
            held = {(task.id, task.lease.epoch): task for task in await tx.tasks.held_by(worker_id)}
            answers: list[tuple[LeaseReport, Verdict]] = []
            for report in reports:
                task = held.get((report.task_id, report.lease_epoch))
                if task is None:
                    task = await self._revive(tx, worker_id, report.task_id, report.lease_epoch)
                answers.append((report, Verdict.LOST if task is None else await self._hear(tx, task, report)))
            return answers

    async def _hear(self, tx: Transaction, task: Task, report: LeaseReport) -> Verdict:
        after = reported(
            task,
            at=tx.now(),
            terms=self._terms,
            phase=report.phase,
            progress=report.progress,
            message=report.message,
        )
        await swap(tx, task, after)
        if after.updated_at != task.updated_at:
            tx.on_commit(lambda: self._wakes.task_changed(task.id))
        return Verdict.CANCEL if after.state is TaskState.CANCELLING else Verdict.OK

    async def _revive(self, tx: Transaction, worker_id: str, task_id: str, lease_epoch: int) -> Task | None:
        """Gives a task back to the worker that was thought lost, while nobody else was granted it."""
        try:
            task = await tx.tasks.get(task_id)
        except NotFoundError:
            return None
        if task.state is not TaskState.QUEUED or task.lease.epoch != lease_epoch:
            return None
        attempt = await tx.tasks.attempt(task_id, lease_epoch)
        if attempt is None or attempt.worker_id != worker_id or attempt.outcome is not Outcome.LOST:
            return None
        if task.resources.gpus and not await self._hold_again(tx, task, attempt):
            return None
        await tx.tasks.put_attempt(replace(attempt, ended_at=None, outcome=None, reason=None, message=""))
        await tx.audit.add("task.revived", task_id, actor=f"worker:{worker_id}", project_id=task.project_id)
        return await swap(tx, task, revived(task, worker_id=worker_id, at=tx.now(), terms=self._terms))

    async def _hold_again(self, tx: Transaction, task: Task, attempt: Attempt) -> bool:
        """Gives an attempt the very GPUs that it was granted; says whether they are free and still there."""
        mine = list(attempt.gpu_uuids)
        if not mine:
            # Granted before attempts noted their GPUs: only all of the worker are surely its own.
            mine = [gpu.uuid for gpu in await tx.workers.gpus(attempt.worker_id)]
        wanted = task.resources.gpus
        return len(mine) == wanted and await tx.workers.hold_gpus(attempt.worker_id, mine, task_id=task.id)

    async def check(self, worker_id: str, task_id: str, lease_epoch: int) -> Task:
        """Returns the task if the worker holds that epoch of it, or refuses; for logs, metrics and blobs."""
        async with self._store.snapshot(brief=True) as tx:
            return await check_lease(tx, worker_id, task_id, lease_epoch)

    async def complete(self, worker_id: str, told: Completion) -> None:
        """Takes the outcome of a run, once; the same request id gets the same answer."""
        missing = await self._find_missing([output.digest for output in told.outputs]) if told.outputs else ()
        succeeded = told.outcome is Outcome.SUCCEEDED
        tail = () if succeeded else await self._log_tail(told.task_id, told.lease_epoch)
        async with self._store.transaction(brief=len(told.outputs) <= _FEW) as tx:
            known = await self._remembered.take(tx, told.task_id, told.lease_epoch)
            task = known[0] if known else await tx.tasks.get(told.task_id)
            attempt = known[1] if known else await tx.tasks.attempt(told.task_id, told.lease_epoch)
            if attempt is None or attempt.worker_id != worker_id:
                raise StaleLeaseError(told.task_id, lease_epoch=told.lease_epoch)
            if attempt.request_id and attempt.request_id == told.request_id:
                return
            if not holds(task, worker_id=worker_id, lease_epoch=told.lease_epoch):
                back = await self._revive(tx, worker_id, told.task_id, told.lease_epoch)
                if back is None:
                    raise StaleLeaseError(told.task_id, lease_epoch=told.lease_epoch)
                task = back
            if missing:
                raise ConflictError(
                    "OUTPUT_MISSING",
                    f"output {min(missing)} is not in the store; upload it and repeat",
                    digest=min(missing),
                )
            if told.outputs:
                await tx.tasks.put_outputs(task.id, told.lease_epoch, told.outputs)
            ended = _ended(attempt, told, tail=tail, tx=tx)
            if succeeded:
                await forget_checkpoint(tx, task)
                await self._succeed(tx, task, ended, told.outputs)
            else:
                await keep_last(tx, task, told.lease_epoch, told.outputs)
                await self._ends.fail(tx, task, ended, _failure(ended))
        self._wakes.ring(worker_id)

    async def _succeed(self, tx: Transaction, task: Task, attempt: Attempt, outputs: Sequence[Output]) -> None:
        await tx.tasks.put_attempt(attempt)
        tx.on_commit(lambda: self._meter.attempt_ended(task.kind, Outcome.SUCCEEDED.value, ""))
        if task.resources.gpus:
            await tx.workers.free_gpus(task.id)
        over = {"lease": let_go(task.lease), "not_before": None, "phase": "finishing", "failure": None}
        after = await swap(tx, task, moved(task, TaskState.FINISHING, at=tx.now(), **over))
        # Where nothing came back there is nothing to look at, and the task's end shares this commit.
        tell = tx.on_commit if outputs else tx.on_kept
        tell(lambda: self._wakes.finisher.give((after, outputs)))
        tx.on_commit(lambda: self._wakes.task_changed(task.id))


def _says_nothing_new(held: Mapping[tuple[str, int], Task], reports: Sequence[LeaseReport]) -> Sequence[Task] | None:
    """Returns the tasks that were reported just as they stand; None where something is to be written or answered."""
    found: list[Task] = []
    for report in reports:
        task = held.get((report.task_id, report.lease_epoch))
        if task is None or task.state is not TaskState.RUNNING or not task.lease.listed or task.lease.suspect_at:
            return None
        if (task.phase, task.progress, task.message) != (report.phase, report.progress, report.message):
            return None
        found.append(task)
    return found


async def check_session(tx: Transaction, worker_id: str, session: str) -> Worker:
    """Returns the worker if the session is its newest, or refuses."""
    worker = await tx.workers.get(worker_id)
    if not session or worker.session != session:
        raise SessionSupersededError(worker_id)
    return worker


async def check_lease(tx: Transaction, worker_id: str, task_id: str, lease_epoch: int) -> Task:
    """Returns the task if the worker holds that epoch of it, or refuses."""
    try:
        task = await tx.tasks.get(task_id)
    except NotFoundError:
        raise StaleLeaseError(task_id, lease_epoch=lease_epoch) from None
    if not holds(task, worker_id=worker_id, lease_epoch=lease_epoch):
        raise StaleLeaseError(task_id, lease_epoch=lease_epoch)
    return task


def _ended(attempt: Attempt, told: Completion, *, tail: Sequence[str], tx: Transaction) -> Attempt:
    reason: FailureReason | None = told.reason or FailureReason.USER
    if told.outcome is Outcome.SUCCEEDED:
        reason = None
    elif told.outcome is Outcome.CANCELLED:
        reason = FailureReason.CANCELLED
    elif told.oom:
        reason = FailureReason.OOM
    return replace(
        attempt,
        started_at=told.started_at or attempt.started_at,
        ended_at=told.ended_at or tx.now(),
        outcome=told.outcome,
        reason=reason,
        message=told.message,
        exit_code=told.exit_code,
        signal=told.signal,
        log_tail=tuple(tail) if reason is not None else (),
        cpu_s=told.cpu_s,
        environment_digest=told.environment_digest,
        request_id=told.request_id,
    )


def _failure(attempt: Attempt) -> Failure:
    reason = attempt.reason or FailureReason.USER
    message = attempt.message or f"the executor ended with exit code {attempt.exit_code}; see `lode task logs`"
    return Failure(reason, message, exit_code=attempt.exit_code, signal=attempt.signal, last_lines=attempt.log_tail)
