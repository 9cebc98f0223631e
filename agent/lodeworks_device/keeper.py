"""Keeps running what shall run, and nothing else: compares the ledger with the processes, again and again.

It alone writes the route file and ends processes. Whatever a killed agent left, the next look puts right.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from lodeworks_device.errors import PortTakenError
from lodeworks_device.ledger import Ledger
from lodeworks_device.serving.routes import Route
from lodeworks_device.states import AlgorithmState, Version
from lodeworks_device.store.packages import Packages
from lodeworks_device.supervisor import Instance, Supervisor

_LOOK_EACH_S = 0.25
_ASK_EACH_S = 5.0
_ASK_WITHIN_S = 5.0
_MOST_SILENCES = 3
_LONGEST_PAUSE_S = 60.0
_CRASHES_TO_REVERT = 3
_CRASH_WINDOW = timedelta(minutes=10)
_SETTLE_S = 0.2


class Keeper:
    """Keeps the processes of one device. `clock` is the wall clock, `timer` monotonic seconds."""

    def __init__(
        self,
        ledger: Ledger,
        supervisor: Supervisor,
        packages: Packages,
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        log: logging.Logger,
    ) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._packages = packages
        self._clock = clock
        self._timer = timer
        self._log = log
        self._wake = asyncio.Event()
        self._ending: dict[Instance, asyncio.Task[None]] = {}
        self._seen: set[Instance] = set()
        self._start_after: dict[Instance, float] = {}
        self._crashes: defaultdict[Instance, deque[datetime]] = defaultdict(lambda: deque(maxlen=20))
        self._silences: defaultdict[Instance, int] = defaultdict(int)
        self.stats: dict[str, Mapping[str, Any]] = {}
        self.front_problem = ""
        ledger.listen(self._changed)

    async def run(self) -> None:
        """Looks again and again until cancelled; then leaves everything as it runs."""
        asking = asyncio.create_task(self._ask_each())
        try:
            while True:
                self._wake.clear()
                try:
                    await self.look()
                except OSError as error:
                    self._log.warning("cannot look after the processes: %s", error)
                try:
                    async with asyncio.timeout(_LOOK_EACH_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            asking.cancel()
            for task in self._ending.values():
                task.cancel()

    async def look(self) -> None:
        """Puts right what is not as it shall be."""
        self._keep_front()
        states = list(self._ledger.states.values())
        for state in states:
            if state.served is not None:
                await self._keep(state, state.served)
        self._switch()
        alive = self._wanted()
        for instance in self._supervisor.found():
            if instance not in alive and instance not in self._ending:
                self._ending[instance] = asyncio.create_task(self._put_away(instance))

    async def cleared(self, instance: Instance) -> None:
        """Returns when nothing is left of an earlier run of an instance; one that runs is left alone."""
        await self.settled(instance)
        if self._supervisor.record(instance) is None:
            await self._supervisor.end(instance)

    async def settled(self, instance: Instance) -> None:
        """Returns when an instance is not being ended."""
        while instance in self._ending:
            await asyncio.wait([self._ending[instance]])

    async def put_away(self, instance: Instance) -> None:
        """Ends an instance that no state names any more."""
        if instance not in self._ending:
            self._ending[instance] = asyncio.create_task(self._put_away(instance))
        await asyncio.wait([self._ending[instance]])

    def _changed(self) -> None:
        # Before anybody hears of the change: whoever is told of a new version gets its answers.
        with contextlib.suppress(OSError):
            self._switch()
        self._wake.set()

    def _switch(self) -> None:
        states = self._ledger.states.values()
        self._supervisor.route({state.name: _route(state, state.served) for state in states if state.served})

    def _wanted(self) -> set[Instance]:
        states = self._ledger.states.values()
        return {Instance(state.name, version.package_id) for state in states for version in state.alive}

    def _keep_front(self) -> None:
        try:
            self._supervisor.start_front()
            self.front_problem = ""
        except PortTakenError as error:
            if not self.front_problem:
                self._log.error("%s", error)
            self.front_problem = str(error)

    async def _keep(self, state: AlgorithmState, version: Version) -> None:
        instance = Instance(state.name, version.package_id)
        if self._supervisor.record(instance) is not None:
            self._seen.add(instance)
            return
        if instance in self._ending:
            return
        if instance in self._seen:
            self._seen.discard(instance)
            if await self._note_crash(state, instance):
                return
        if self._timer() >= self._start_after.get(instance, 0.0):
            self._supervisor.start(instance, package=self._packages.path(version.package_id))
            self._seen.add(instance)

    async def _note_crash(self, state: AlgorithmState, instance: Instance) -> bool:
        """Counts a crash of a served version; says whether it was reverted for good."""
        failure = self._supervisor.failure(instance)
        now = self._clock()
        crashes = self._crashes[instance]
        crashes.append(now)
        recent = sum(1 for at in crashes if now - at < _CRASH_WINDOW)
        self._log.warning("%s crashed (%d in ten minutes): %s", state.name, recent, failure.message)
        # At once the first time, since somebody may be waiting for an answer; ever later if it goes on.
        pause_s = 0.0 if recent == 1 else min(2.0 ** (recent - 2), _LONGEST_PAUSE_S)
        self._start_after[instance] = self._timer() + pause_s
        previous = state.previous
        if recent < _CRASHES_TO_REVERT or state.reverted or previous is None:
            return False
        if not self._packages.path(previous.package_id).is_dir():
            return False
        message = f"it crashed {recent} times in ten minutes, {previous.release} answers again: {failure.message}"
        return await self._ledger.swap(state, state.revert(message, at=now))

    async def _put_away(self, instance: Instance) -> None:
        try:
            # The front has read the route by then, whatever it was about to send.
            await asyncio.sleep(_SETTLE_S)
            if instance not in self._wanted():
                await self._supervisor.end(instance)
        finally:
            self._seen.discard(instance)
            self._start_after.pop(instance, None)
            self._crashes.pop(instance, None)
            self._ending.pop(instance, None)
            self._wake.set()

    async def _ask_each(self) -> None:
        """Asks the served processes how they do; ends one that hangs, so that it is started again."""
        while True:
            await asyncio.sleep(_ASK_EACH_S)
            for state in list(self._ledger.states.values()):
                if state.served is None:
                    self.stats.pop(state.name, None)
                    continue
                instance = Instance(state.name, state.served.package_id)
                try:
                    stats = await self._supervisor.ask(instance, "GET", "/stats", timeout_s=_ASK_WITHIN_S)
                    self.stats[state.name], self._silences[instance] = stats, 0
                except TimeoutError:
                    self._silences[instance] += 1
                    if self._silences[instance] >= _MOST_SILENCES:
                        self._log.warning("%s hangs and is started again", state.name)
                        self._silences[instance] = 0
                        self._supervisor.kill(instance)
                except OSError:
                    continue


def _route(state: AlgorithmState, version: Version) -> Route:
    instance = Instance(state.name, version.package_id)
    return Route(instance.socket, version.package_id, version.release, state.wanted.confidence)
