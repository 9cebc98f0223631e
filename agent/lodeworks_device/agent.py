"""The device agent put together: what it keeps, what it runs, and whom it speaks with."""

import asyncio
import contextlib
import fcntl
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final
from uuid import uuid4

from lodeworks.channel.backoff import Backoff
from lodeworks.channel.errors import ChannelError

from lodeworks_device import enrolment
from lodeworks_device.activation import Activation
from lodeworks_device.capabilities import Capabilities, free_disk_bytes, survey
from lodeworks_device.config import Config
from lodeworks_device.control_plane import Answer
from lodeworks_device.desired import Signed
from lodeworks_device.enrolment import Identity
from lodeworks_device.errors import AlreadyRunningError, EnrolmentError
from lodeworks_device.keeper import Keeper
from lodeworks_device.ledger import Ledger
from lodeworks_device.process_record import ProcessRecord, own_record, read_record, write_record
from lodeworks_device.reporter import Reporter
from lodeworks_device.session import Conversation, Talk
from lodeworks_device.states import WORKING, Wanted
from lodeworks_device.store.blobs import Blobs
from lodeworks_device.store.packages import Packages
from lodeworks_device.store.state_file import StateFile
from lodeworks_device.supervisor import Supervisor
from lodeworks_device.trust import Trust
from lodeworks_device.wire import GrpcControlPlane

_LONGEST_BACKOFF_S: Final = 60.0
_RENEW_LOOK_S: Final = 3600.0
_LOCK, _RECORD = "agent.lock", "agent.json"


def identity_folder(config: Config) -> Path:
    """Returns where the identity lies."""
    return config.state / "identity"


def make_supervisor(config: Config) -> Supervisor:
    """Returns the supervisor of a state folder."""
    return Supervisor(config.state / "serving", listen=config.http_listen, threads=config.threads)


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Makes this process the agent of a state folder, or raises AlreadyRunningError."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"an agent works on {state} already; stop it, or name another --state") from error
        write_record(state / _RECORD, own_record())
        yield


def running_agent(state: Path) -> ProcessRecord | None:
    """Returns the agent that works on a state folder, None when none does."""
    record = read_record(state / _RECORD)
    return record if record is not None and record.alive else None


class Agent:
    """One device at work. `clock` is the wall clock."""

    def __init__(
        self, config: Config, identity: Identity, *, clock: Callable[[], datetime], log: logging.Logger
    ) -> None:
        state = config.state
        self._config = config
        self._identity = identity
        self._clock = clock
        self._log = log
        self._capabilities = Capabilities()
        self._collecting = asyncio.Lock()
        self._driving: dict[str, tuple[Wanted, asyncio.Task[None]]] = {}
        self._blobs = Blobs(state / "blobs" / "sha256", parts=state / "tmp")
        self._packages = Packages(state / "packages", blobs=self._blobs, scratch=state / "tmp")
        self._ledger = Ledger(StateFile(state, packages=state / "packages"))
        self._supervisor = make_supervisor(config)
        self._control = GrpcControlPlane(identity, version=version("lodeworks-platform"))
        self._trust = Trust(state / "trust", root=identity.trusted_root, control=self._control)
        self._keeper = Keeper(
            self._ledger, self._supervisor, self._packages, clock=clock, timer=time.monotonic, log=log
        )
        free = partial(free_disk_bytes, state)
        self._activation = Activation(
            self._ledger,
            packages=self._packages,
            trust=self._trust,
            control=self._control,
            supervisor=self._supervisor,
            keeper=self._keeper,
            capabilities=lambda: self._capabilities,
            free_disk_bytes=free,
            collecting=self._collecting,
            clock=clock,
            log=log,
        )
        self._reporter = Reporter(
            self._ledger,
            self._keeper,
            device_id=identity.device_id,
            http_address=lambda: self._supervisor.http_address,
            capabilities=lambda: self._capabilities,
            certificate_end=lambda: self._identity.valid[1],
            free_disk_bytes=free,
        )
        self._conversation = Conversation(
            self._control,
            self._reporter,
            Talk(uuid4().hex, Backoff(random.random, longest_s=_LONGEST_BACKOFF_S)),
            observed=lambda: self._ledger.generation,
            take=self._take,
            troubled=self._renew_when_due,
            log=log,
            learn=self._learn,
        )

    async def work(self) -> None:
        """Works until cancelled. What is committed is served before anybody is asked."""
        self._supervisor.start_front()
        async with self._opened():
            self._ledger.listen(self._conversation.tell)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keeper.run(), name="keeper")
                self._capabilities = await survey(self._config.state)
                self._log.info("answers at %s", self._supervisor.http_address)
                group.create_task(self._drive_each(group), name="driver")
                group.create_task(self._conversation.hold(), name="conversation")
                group.create_task(self._renew_each(), name="renewal")

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        await self._ledger.open(at=self._clock())
        try:
            yield
        finally:
            await self._control.close()
            await self._ledger.close()
            self._blobs.close()

    def _trusted_now(self) -> datetime:
        """The wall clock, unless something signed is newer than it believes it is."""
        now = self._clock()
        return max(now, self._ledger.trusted_at or now)

    async def _take(self, signed: Signed) -> None:
        desired = await self._trust.verify(
            signed, device_id=self._identity.device_id, seen=self._ledger.generation, at=self._trusted_now()
        )
        self._log.info("generation %d is accepted", desired.generation)
        await self._ledger.accept(desired, at=self._clock())

    async def _drive_each(self, group: asyncio.TaskGroup) -> None:
        """Starts a task per algorithm that has somewhere to go, ends one whose aim is no longer wanted."""
        changed = asyncio.Event()
        self._ledger.listen(changed.set)
        changed.set()
        while True:
            await changed.wait()
            changed.clear()
            states = dict(self._ledger.states)
            for name, (wanted, task) in list(self._driving.items()):
                state = states.get(name)
                if task.done():
                    del self._driving[name]
                elif state is None or not state.wanted.same_aim(wanted):
                    task.cancel()
                    await asyncio.wait([task])
                    del self._driving[name]
            for name, state in states.items():
                if state.phase in WORKING and name not in self._driving:
                    task = group.create_task(self._activation.drive(name), name=f"drive {name}")
                    task.add_done_callback(lambda _: changed.set())
                    self._driving[name] = (state.wanted, task)
            await self._collect()

    async def _collect(self) -> None:
        """Deletes packages that nobody needs, when nothing is on its way."""
        if any(state.phase in WORKING for state in self._ledger.states.values()):
            return
        async with self._collecting:
            states = list(self._ledger.states.values())
            if any(state.phase in WORKING for state in states):
                return
            pinned = frozenset[str]().union(*(state.pinned for state in states))
            freed = await self._packages.keep_only(pinned)
            if freed:
                self._log.info("%d bytes of packages that nobody needs are deleted", freed)

    async def _learn(self, answer: Answer) -> None:
        """Remembers where the controllers say they are; connects anew where there are more."""
        try:
            moved = enrolment.relocated(
                identity_folder(self._config),
                self._identity,
                agents_address=answer.agents_address,
                addresses=answer.addresses,
            )
        except (OSError, ChannelError) as error:
            self._log.warning("the addresses of the controllers are not remembered: %s", error)
            return
        self._identity = moved
        if enrolment.adds_places(moved, self._control.identity):
            self._log.info("the controllers are at %s now", moved.agents)
            await self._control.renew(moved)

    async def _renew_each(self) -> None:
        while True:
            await self._renew_when_due()
            await asyncio.sleep(_RENEW_LOOK_S)

    async def _renew_when_due(self) -> None:
        """Renews a certificate past its half, also one that has ended."""
        now = self._trusted_now()
        if not enrolment.renewal_due(self._identity, at=now):
            return
        try:
            self._identity = await enrolment.renew(identity_folder(self._config), self._identity, at=now)
        except EnrolmentError as error:
            self._log.warning("%s", error)
            return
        await self._control.renew(self._identity)
        self._log.info("the certificate holds until %s", self._identity.valid[1].date())


def wall_clock() -> datetime:
    """Returns the present moment."""
    return datetime.now(UTC)
