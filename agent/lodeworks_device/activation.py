"""Takes an algorithm along its way, one step at a time; a step that a kill interrupted is simply done again."""

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from lodeworks_formats.package import PackageManifest

from lodeworks_device.capabilities import Capabilities
from lodeworks_device.control_plane import ControlPlane
from lodeworks_device.errors import RefusedError, StepError, UnreachableError
from lodeworks_device.gate import Allowed, judge
from lodeworks_device.keeper import Keeper
from lodeworks_device.ledger import Ledger
from lodeworks_device.reasons import Reason
from lodeworks_device.states import WORKING, AlgorithmState, Phase, Version
from lodeworks_device.store.packages import Packages
from lodeworks_device.supervisor import Instance, Supervisor
from lodeworks_device.trust import Trust

_START_WITHIN_S = 60.0
_PROBE_WITHIN_S = 60.0
_LOOK_EACH_S = 0.05
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0


class Activation:
    """The steps from a wish to a committed version, for any algorithm of one device.

    `free_disk_bytes` tells what the disk has left, `collecting` is held while the store is cleaned.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        packages: Packages,
        trust: Trust,
        control: ControlPlane,
        supervisor: Supervisor,
        keeper: Keeper,
        capabilities: Callable[[], Capabilities],
        free_disk_bytes: Callable[[], int],
        collecting: asyncio.Lock,
        clock: Callable[[], datetime],
        log: logging.Logger,
    ) -> None:
        self._ledger = ledger
        self._packages = packages
        self._trust = trust
        self._control = control
        self._supervisor = supervisor
        self._keeper = keeper
        self._capabilities = capabilities
        self._free_disk_bytes = free_disk_bytes
        self._collecting = collecting
        self._clock = clock
        self._log = log
        self._steps = {
            Phase.ACCEPTED: self._accepted,
            Phase.PREFLIGHT: self._preflight,
            Phase.FETCHING: self._fetching,
            Phase.VERIFIED: self._verified,
            Phase.STAGED: self._staged,
            Phase.STARTING: self._starting,
            Phase.GATING: self._gating,
            Phase.ROLLING_BACK: self._rolling_back,
        }

    async def drive(self, name: str) -> None:
        """Takes an algorithm as far as it goes. Whatever goes wrong ends in its state, not here."""
        pause_s = _FIRST_PAUSE_S
        while (state := self._ledger.states.get(name)) is not None and state.phase in WORKING:
            try:
                new = await self._steps[state.phase](state)
                pause_s = _FIRST_PAUSE_S
            except UnreachableError as error:
                self._log.info("%s waits in %s: %s", name, state.phase.value, error)
                if state.message != str(error):
                    await self._ledger.swap(state, replace(state, message=str(error)))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except (StepError, RefusedError, OSError) as error:
                new = state.fail(_reason_of(error), str(error), at=self._clock())
            except Exception as error:  # noqa: BLE001 - a broken algorithm ends in its state, not in the agent
                self._log.exception("%s fails in %s", name, state.phase.value)
                new = state.fail(Reason.INTERNAL, f"the agent failed: {error!r}", at=self._clock())
            pause_s = await self._store(state, new, pause_s=pause_s)

    async def _store(self, state: AlgorithmState, new: AlgorithmState, *, pause_s: float) -> float:
        """Stores a step; returns how long to pause before the next try when the disk refuses."""
        try:
            if await self._ledger.swap(state, new):
                self._log.info("%s: %s → %s %s", state.name, state.phase.value, new.phase.value, new.message)
        except (OSError, sqlite3.Error) as error:
            self._log.error("%s: the step to %s cannot be stored: %s", state.name, new.phase.value, error)
            await asyncio.sleep(pause_s)
            return min(2 * pause_s, _LONGEST_PAUSE_S)
        return pause_s

    async def _accepted(self, state: AlgorithmState) -> AlgorithmState:
        return state.move(Phase.PREFLIGHT, at=self._clock())

    async def _preflight(self, state: AlgorithmState) -> AlgorithmState:
        version = state.wanted.version
        released = await self._trust.released(version)
        trial = replace(version, manifest_size_bytes=released.manifest_size_bytes)
        return state.move(Phase.FETCHING, at=self._clock(), trial=trial, message="")

    async def _fetching(self, state: AlgorithmState) -> AlgorithmState:
        async with self._collecting:
            pass
        manifest = await self._manifest(_trial(state))
        lacking = self._capabilities().lacks(manifest)
        if lacking is not None:
            raise StepError(Reason.INCOMPATIBLE, lacking)
        needed = manifest.resources.disk_bytes
        if self._free_disk_bytes() < needed:
            raise StepError(Reason.DISK_FULL, f"the package needs {needed:,} bytes of disk; make room and deploy again")
        await self._packages.fetch(manifest, source=self._control.read_blob)
        return state.move(Phase.VERIFIED, at=self._clock(), message="")

    async def _verified(self, state: AlgorithmState) -> AlgorithmState:
        trial = _trial(state)
        await self._packages.assemble(trial.package_id, await self._manifest(trial))
        return state.move(Phase.STAGED, at=self._clock())

    async def _staged(self, state: AlgorithmState) -> AlgorithmState:
        await self._keeper.cleared(_instance(state, _trial(state)))
        return state.move(Phase.STARTING, at=self._clock(), attempts=state.attempts + 1)

    async def _starting(self, state: AlgorithmState) -> AlgorithmState:
        version = state.trial or state.committed
        assert version is not None
        instance = _instance(state, version)
        await self._keeper.settled(instance)
        if state.trial is not None and self._supervisor.record(instance) is None:
            if self._supervisor.was_started(instance):
                return await self._found_dead(state, instance)
            self._supervisor.start(instance, package=self._packages.path(version.package_id))
        deadline = asyncio.get_running_loop().time() + _START_WITHIN_S
        while not await self._is_ready(instance):
            if state.trial is not None and self._supervisor.record(instance) is None:
                return await self._found_dead(state, instance)
            if asyncio.get_running_loop().time() > deadline:
                return state.fail(
                    Reason.START_TIMEOUT, f"it was not ready within {_START_WITHIN_S:.0f} s", at=self._clock()
                )
            await asyncio.sleep(_LOOK_EACH_S)
        # What was committed has been proven; only a trial is on trial.
        return state.move(Phase.COMMITTED if state.trial is None else Phase.GATING, at=self._clock())

    async def _gating(self, state: AlgorithmState) -> AlgorithmState:
        trial = _trial(state)
        instance = _instance(state, trial)
        manifest = await self._manifest(trial)
        allowed = Allowed(manifest.health.max_latency_ms).tightened(state.wanted.gate)
        try:
            probe = await self._supervisor.ask(instance, "POST", "/probe", timeout_s=_PROBE_WITHIN_S)
            judgement = judge(probe, allowed)
            if judgement.reason is not None:
                failed = replace(state, gate=probe)
                return failed.fail(judgement.reason, judgement.message, at=self._clock())
            await asyncio.sleep(allowed.soak_s)
            await self._supervisor.ask(instance, "GET", "/ready")
        except TimeoutError as error:
            raise StepError(Reason.GATE_FAILED, "it stopped answering while it was proven") from error
        except OSError as error:
            if self._supervisor.record(instance) is None:
                return await self._found_dead(state, instance)
            raise StepError(Reason.GATE_FAILED, f"it cannot be proven: {error}") from error
        return state.commit(probe, at=self._clock())

    async def _rolling_back(self, state: AlgorithmState) -> AlgorithmState:
        trial = _trial(state)
        if state.committed is None or trial.package_id != state.committed.package_id:
            await self._keeper.put_away(_instance(state, trial))
        return state.rolled_back(at=self._clock())

    async def _found_dead(self, state: AlgorithmState, instance: Instance) -> AlgorithmState:
        """A trial that died before it was proven: refused when it says why, else counted and tried once more."""
        failure = self._supervisor.failure(instance)
        await self._supervisor.end(instance)
        if failure.explained:
            return state.fail(failure.reason, failure.message, at=self._clock())
        died = state.die(failure.message, at=self._clock())
        return replace(died, reason=failure.reason) if died.reason is Reason.CRASHED else died

    async def _is_ready(self, instance: Instance) -> bool:
        try:
            await self._supervisor.ask(instance, "GET", "/ready")
        except OSError:
            return False
        return True

    async def _manifest(self, version: Version) -> PackageManifest:
        return await self._packages.manifest(
            version.package_id, size_bytes=version.manifest_size_bytes, source=self._control.read_blob
        )


def _trial(state: AlgorithmState) -> Version:
    assert state.trial is not None
    return state.trial


def _instance(state: AlgorithmState, version: Version) -> Instance:
    return Instance(state.name, version.package_id)


def _reason_of(error: Exception) -> Reason:
    if isinstance(error, StepError):
        return error.reason
    if isinstance(error, RefusedError):
        return Reason.FETCH_REFUSED
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    return Reason.DISK_FULL if full else Reason.INTERNAL
