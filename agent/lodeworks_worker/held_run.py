"""One run from grant to confirmed outcome, one journaled step at a time.

Every step may be repeated, so a worker that was killed anywhere goes on from the journal: staging begins anew, a
second start meets the first, waiting and harvesting only read, and Complete is known by its request id.
"""

import asyncio
import contextlib
import errno
import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lodeworks_formats.task_inputs import BLOBS

from lodeworks_worker.blobs_ahead import BlobsAhead, has_blobs
from lodeworks_worker.cache import Cache
from lodeworks_worker.checkpoint_keeper import CheckpointKeeper
from lodeworks_worker.control_plane import BlobTransfer, ControlPlane, LeaseReport, RunState, Scope
from lodeworks_worker.drivers.base import Driver, RunHandle
from lodeworks_worker.errors import (
    DriverError,
    InputError,
    LaunchError,
    LeaseLostError,
    NoSpaceError,
    OutputMissingError,
    RefusedError,
    RunLostError,
    SessionLostError,
    UnreachableError,
    WorkerError,
)
from lodeworks_worker.executors import Executors
from lodeworks_worker.follow import Follower
from lodeworks_worker.grant import Grant
from lodeworks_worker.images.programs import PULL_PROGRAM
from lodeworks_worker.journal import Entry, Journal, RunPhase
from lodeworks_worker.log_pump import LogPump
from lodeworks_worker.metrics import pump_metrics
from lodeworks_worker.outcome import FailureReason, Judgement, Outcome, OutcomeState, Output
from lodeworks_worker.putting_down import in_thread, put_down
from lodeworks_worker.settle import judge
from lodeworks_worker.staging.stage import Stager
from lodeworks_worker.yielded import send_outputs

_AGAIN_S = 1.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REPORTED = {
    RunPhase.GRANTED: RunState.STAGING,
    RunPhase.STAGED: RunState.STAGING,
    RunPhase.STARTED: RunState.RUNNING,
    RunPhase.EXITED: RunState.HARVESTING,
    RunPhase.SETTLED: RunState.HARVESTING,
}


@dataclass(frozen=True, slots=True)
class Kit:
    """What every run of this worker works with. `session` waits for the session that is open now."""

    runs_folder: Path
    journal: Journal
    cache: Cache
    transfer: BlobTransfer
    control: ControlPlane
    drivers: Mapping[str, Driver]
    executors: Executors
    session: Callable[[], Awaitable[str]]
    changed: Callable[[], None]
    clock: Callable[[], float]
    ids: Callable[[], str]
    log: logging.Logger
    checkpoint_s: float = 30.0


class HeldRun:
    """A run that this worker holds a lease of."""

    def __init__(self, entry: Entry, kit: Kit) -> None:
        self._entry = entry
        self._kit = kit
        self._folder = kit.runs_folder / entry.grant.name
        self._ordered = asyncio.Event()
        if entry.ending is not None:
            self._ordered.set()
        self._follower: Follower | None = None
        self._dropped = False
        self._scope = Scope(entry.grant.task_id, entry.grant.lease_epoch)
        self._pump = LogPump(scope=self._scope, folder=self._folder, control=kit.control, offsets=entry.offsets)

    @property
    def grant(self) -> Grant:
        """What was granted."""
        return self._entry.grant

    @property
    def phase(self) -> RunPhase:
        """How far the run is."""
        return self._entry.phase

    def report(self) -> LeaseReport:
        """Returns what the controller is told of the run now."""
        follower = self._follower
        return LeaseReport(
            task_id=self.grant.task_id,
            lease_epoch=self.grant.lease_epoch,
            state=_REPORTED[self.phase],
            progress=-1.0 if follower is None else follower.progress,
            message="" if follower is None else follower.message,
        )

    async def end(self, reason: FailureReason, message: str) -> None:
        """Orders the run to end; the first order names the reason. What it has written is kept."""
        if self._entry.ending is None and self.phase in {RunPhase.GRANTED, RunPhase.STAGED, RunPhase.STARTED}:
            try:
                await self._save(ending=reason, ending_message=message)
            except sqlite3.Error as error:  # the order holds all the same, as long as this process lives
                self._kit.log.warning("run %s: the order to end is not journaled: %s", self.grant.name, error)
            self._say(f"asked to end: {message}")
            self._ordered.set()

    async def drive(self) -> None:
        """Takes the run from where it is to its confirmed end. Cancelling this leaves the run itself alone."""
        while True:
            try:
                if await self._step():
                    return
                continue
            except (UnreachableError, SessionLostError) as error:
                self._kit.log.info("run %s waits: %s", self.grant.name, error)
            except LeaseLostError as error:
                # Only the verdict on a report, or a new session, ends a run: either gives one that was silent for too
                # long back to this worker while nobody else was granted its task.
                self._kit.log.info("run %s asks whether it goes on: %s", self.grant.name, error)
                self._kit.changed()
            except Exception:
                # The journal cannot be written, as on a full disk. Every step may be repeated.
                self._kit.log.exception("run %s cannot go on; trying again", self.grant.name)
            await asyncio.sleep(_AGAIN_S)

    async def drop(self) -> None:
        """Ends the run at once, tells nobody, and forgets it."""
        try:
            await self._remove()
        except Exception as error:  # noqa: BLE001 - a lost lease must not stay reported
            # What a driver cannot remove now is a stray of the next start.
            self._kit.log.warning("run %s is not removed: %s", self.grant.name, error)
        # The folder first: on a full disk the journal needs its room.
        self._kit.cache.release(self.grant.name)
        await in_thread(_removed, self._folder)
        try:
            await self._kit.journal.forget(self._entry)
        except sqlite3.Error as error:
            self._kit.log.warning("run %s stays journaled until the next start: %s", self.grant.name, error)
        self._dropped = True
        self._kit.changed()

    async def _step(self) -> bool:
        """Does what follows, or gives up; says whether the run is forgotten."""
        try:
            await self._next()
        except (UnreachableError, SessionLostError, LeaseLostError, sqlite3.Error):
            raise
        except LaunchError as error:
            await self._give_up(error.failure, str(error))
        except InputError as error:
            await self._give_up(FailureReason.BAD_INPUT, str(error))
        except (OSError, WorkerError) as error:
            if isinstance(error, NoSpaceError) or getattr(error, "errno", None) in _FULL:
                await self._give_up_room()
                folder = self._kit.runs_folder.parent
                await self._give_up(
                    FailureReason.DISK_FULL, f"the worker's disk is full; make room under {folder} ({error})"
                )
            else:
                await self._give_up(FailureReason.WORKER, str(error))
        except Exception as error:
            self._kit.log.exception("run %s: unexpected in phase %s", self.grant.name, self.phase.value)
            what = f"unexpected {type(error).__name__} in the worker: {error}; its log has the traceback"
            await self._give_up(FailureReason.WORKER, what)
        return self._dropped

    async def _next(self) -> None:
        if self.phase is RunPhase.GRANTED:
            await self._stage()
        elif self.phase is RunPhase.STAGED:
            await self._start()
        elif self.phase is RunPhase.STARTED:
            await self._follow()
        elif self.phase is RunPhase.EXITED:
            await self._settle()
        else:
            await self._deliver()

    async def _stage(self) -> None:
        grant = self.grant
        choice = self._kit.executors.choose(grant)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._say(f"staging the inputs of {grant.run.executor}, attempt {grant.attempt}")
        stager = Stager(self._kit.cache, self._kit.transfer)
        staging = stager.stage(grant, roots=choice.roots(self._folder), read_only_in=choice.read_only_in)
        staged = await _unless(self._ordered, staging)
        await self._save(phase=RunPhase.STAGED if staged else RunPhase.EXITED)

    async def _start(self) -> None:
        # A worker that was killed here may have asked before: STAGED is always followed by asking the driver.
        choice = self._kit.executors.choose(self.grant)
        handle = await self._kit.drivers[choice.driver].start(choice.launch(self.grant, folder=self._folder))
        self._say(f"started by the {choice.driver} driver")
        await self._save(phase=RunPhase.STARTED, handle=handle, started_at=self._kit.clock())

    async def _follow(self) -> None:
        driver, handle = self._running(self._entry.handle)
        self._follower = Follower(
            folder=self._folder,
            driver=driver,
            handle=handle,
            pump=self._pump,
            limits=self.grant.run.limits,
            out_bytes=self.grant.run.policy.out_bytes,
            started_at=self._entry.started_at,
            clock=self._kit.clock,
            end=self.end,
            journal=self._save,
            tell=self._kit.changed,
        )
        ahead, blobs = self._blobs_ahead(), has_blobs(self.grant)
        keeper = CheckpointKeeper(
            folder=self._folder,
            scope=self._scope,
            control=self._kit.control,
            transfer=self._kit.transfer,
            every_s=self._kit.checkpoint_s,
            say=self._say,
            log=self._kit.log,
            first=ahead.send if blobs else None,
        )
        beside = [asyncio.ensure_future(self._stop_when_ordered()), asyncio.ensure_future(keeper.keep())]
        beside += [asyncio.ensure_future(ahead.keep())] if blobs else []
        try:
            ended = await self._follower.follow()
        except RunLostError as error:
            self._say(str(error))
            ended = None
        finally:
            await put_down(*beside)
        if ended is not None:
            self._say(f"ended with code {ended.code}, signal {ended.signal}")
        if ended is None or not ended.succeeded:
            await keeper.last_look()
        await self._save(phase=RunPhase.EXITED, exit=ended, ended_at=self._kit.clock())

    async def _stop_when_ordered(self) -> None:
        await self._ordered.wait()
        driver, handle = self._running(self._entry.handle)
        while True:
            try:
                await driver.stop(handle, grace_s=self.grant.run.limits.grace_s)
            except Exception as error:  # noqa: BLE001 - an order to stop is not given up
                self._kit.log.warning("run %s does not stop: %s", self.grant.name, error)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _settle(self) -> None:
        """Brings the last logs and the outputs home and writes down the outcome."""
        entry = self._entry
        outputs: tuple[Output, ...] = ()
        if entry.handle is not None:
            driver, handle = self._running(entry.handle)
            with contextlib.suppress(RunLostError):
                while await self._pump.pump_out(driver, handle):
                    pass
            await self._pump_last_metrics()
        judgement = entry.verdict or judge(
            entry.exit,
            ending=entry.ending,
            ending_message=entry.ending_message,
            folder=self._folder,
            pulls=self.grant.run.executor == PULL_PROGRAM,
            gpus=len(self.grant.gpu_uuids),
        )
        if entry.handle is not None and entry.verdict is None:
            if has_blobs(self.grant):
                await self._blobs_ahead().send()
            judgement, outputs = await send_outputs(
                self.grant, judgement, folder=self._folder, cache=self._kit.cache, transfer=self._kit.transfer
            )
        self._say(f"{judgement.state.value} with {len(outputs)} outputs {judgement.message}".rstrip())
        while await self._pump.pump_worker():
            pass
        await self._save(phase=RunPhase.SETTLED, outcome=self._outcome(judgement, outputs))

    async def _pump_last_metrics(self) -> None:
        while True:
            before = self._pump.offsets
            self._pump.offsets = await pump_metrics(self._kit.control, self._scope, folder=self._folder, offsets=before)
            if self._pump.offsets == before:
                return

    def _blobs_ahead(self) -> BlobsAhead:
        folder = self._folder / "out" / "lode" / BLOBS
        return BlobsAhead(folder=folder, scope=self._scope, transfer=self._kit.transfer, log=self._kit.log)

    def _outcome(self, judgement: Judgement, outputs: tuple[Output, ...]) -> Outcome:
        entry, ended = self._entry, self._entry.exit
        try:
            environment_digest = self._kit.executors.choose(self.grant).environment_digest
        except LaunchError:
            environment_digest = ""
        return Outcome(
            request_id=self._kit.ids(),
            task_id=self.grant.task_id,
            lease_epoch=self.grant.lease_epoch,
            judgement=judgement,
            exit_code=0 if ended is None or ended.code is None else ended.code,
            signal=0 if ended is None or ended.signal is None else ended.signal,
            oom=ended is not None and ended.oom,
            outputs=outputs,
            out_log_bytes=self._pump.offsets.out,
            worker_log_bytes=self._pump.offsets.worker,
            started_at=entry.started_at,
            ended_at=entry.ended_at,
            environment_digest=environment_digest,
            cpu_s=0.0 if ended is None else ended.cpu_s,
        )

    async def _deliver(self) -> None:
        outcome = self._entry.outcome
        assert outcome is not None
        try:
            await self._kit.control.complete(await self._kit.session(), outcome)
        except OutputMissingError as error:
            self._say(str(error))
            await self._save(phase=RunPhase.EXITED, outcome=None)
        except RefusedError as error:
            self._kit.log.error("run %s: the controller refuses its outcome: %s", self.grant.name, error)  # noqa: TRY400
            await self._give_up(FailureReason.WORKER, f"the controller refused the outcome: {error}")
        else:
            await self.drop()

    async def _give_up_room(self) -> None:
        """Removes what a run that never started has staged: it is fetched again by the next attempt."""
        self._kit.cache.release(self.grant.name)
        if self.phase is RunPhase.GRANTED:
            for part in ("in.making", "in", "out"):
                await in_thread(_removed, self._folder / part)
        await self._kit.cache.make_room()

    async def _give_up(self, reason: FailureReason, message: str) -> None:
        """Ends the run because this worker cannot go on with it; the outcome says why.

        Whoever gives up again brings nothing home any more; who cannot even tell that drops the run: its lease ends.
        """
        self._kit.log.warning("run %s: %s", self.grant.name, message)
        entry = self._entry
        if entry.verdict is not None:
            if self.phase is RunPhase.SETTLED:
                await self.drop()
            else:
                await self._save(phase=RunPhase.SETTLED, outcome=self._outcome(entry.verdict, ()))
            return
        try:
            if entry.handle is None:
                await self._remove()  # of a start that did not come through
            else:
                driver, handle = self._running(entry.handle)
                await driver.stop(handle, grace_s=0.0)
        except Exception as error:  # noqa: BLE001 - whatever it is, the outcome comes first
            self._kit.log.warning("run %s is not stopped: %s", self.grant.name, error)
        verdict = Judgement(OutcomeState.FAILED, reason, message)
        if entry.ending is FailureReason.CANCELLED:
            verdict = Judgement(OutcomeState.CANCELLED, entry.ending, entry.ending_message)
        await self._save(phase=RunPhase.EXITED, verdict=verdict, outcome=None)

    async def _remove(self) -> None:
        """Removes what the driver has of the run, also where nobody knows whether its start came through."""
        if self._entry.handle is not None:
            driver, handle = self._running(self._entry.handle)
            await driver.remove(handle)
            return
        if self.phase is not RunPhase.STAGED:
            return
        for driver in self._kit.drivers.values():
            for handle in await driver.found():
                if (handle.task_id, handle.lease_epoch) == (self.grant.task_id, self.grant.lease_epoch):
                    await driver.remove(handle)

    def _running(self, handle: RunHandle | None) -> tuple[Driver, RunHandle]:
        assert handle is not None
        driver = self._kit.drivers.get(handle.driver)
        if driver is None:
            raise DriverError(f"the {handle.driver} driver that started the run is gone from this worker")
        return driver, handle

    def _say(self, line: str) -> None:
        """Adds a line to the run's own `worker` log; the log of a folder that is gone has no reader."""
        at = datetime.fromtimestamp(self._kit.clock(), UTC).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError):
            self._pump.say(f"{at} {line}")

    async def _save(self, **changes: Any) -> None:
        self._entry = replace(self._entry, offsets=self._pump.offsets, **changes)
        await self._kit.journal.save(self._entry)
        if "phase" in changes:
            self._kit.changed()


def _removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def _unless(ordered: asyncio.Event, work: Any) -> bool:
    """Does the work unless something is ordered first; says whether it was done."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(ordered.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        await put_down(working, waiting)
