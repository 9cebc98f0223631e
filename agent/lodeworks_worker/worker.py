"""A worker as a whole: made of its parts, run until it is asked to stop."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import random
import shutil
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lodeworks.channel.diagnosis import explain
from lodeworks.channel.dial import dial
from lodeworks.channel.errors import ChannelError
from lodeworks.channel.keepalive import PROMPT_OPTIONS

from lodeworks_worker import enrolment, environments, fingerprint
from lodeworks_worker.blob_transfer import GrpcBlobTransfer
from lodeworks_worker.cache import Cache
from lodeworks_worker.config import Config
from lodeworks_worker.control_plane import BlobTransfer, ControlPlane, Fingerprint, Polled
from lodeworks_worker.drivers.base import Capabilities, Driver, Launch
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.drivers.logged import LoggedDriver
from lodeworks_worker.drivers.process import ProcessDriver
from lodeworks_worker.enrolment import Identity
from lodeworks_worker.errors import EnrolmentError, RunningAlreadyError
from lodeworks_worker.executors import Executors
from lodeworks_worker.gpu_use import GpuUse, measured
from lodeworks_worker.held_run import Kit
from lodeworks_worker.images.programs import IMAGE_PROGRAMS, image_programs
from lodeworks_worker.journal import Journal
from lodeworks_worker.putting_down import put_down
from lodeworks_worker.runs import Runs
from lodeworks_worker.session import Conversation, OpenSession
from lodeworks_worker.wire import GrpcControlPlane

_DOCKER_SOCKET = Path("/var/run/docker.sock")
_RENEWAL_RETRY_S = 3600.0
_LONGEST_SLEEP_S = 86400.0


def identity_folder(config: Config) -> Path:
    """Returns where the identity of this worker is kept."""
    return config.state / "identity"


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Makes sure that one worker runs per state folder; raises RunningAlreadyError where one does already."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(state / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunningAlreadyError(f"a worker runs on {state} already; give this one another --state") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def is_running(state: Path) -> bool:
    """Whether a worker runs on a state folder."""
    try:
        descriptor = os.open(state / "worker.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def make_drivers(config: Config, *, worker_id: str, runs_folder: Path, log: logging.Logger) -> dict[str, Driver]:
    """Returns the configured drivers by name."""
    made: dict[str, Driver] = {}
    if "process" in config.drivers:
        made["process"] = ProcessDriver(
            runs_folder, environment=config.program_environment, spool_bytes=config.spool_bytes
        )
    if "docker" in config.drivers and (config.docker_host or _DOCKER_SOCKET.exists()):
        # The SDK and requests cost 20 MB, which a worker without an engine need not spend.
        from lodeworks_worker.drivers.docker_engine import DockerDriver, engine_at  # noqa: PLC0415
        from lodeworks_worker.images.registry import Registries  # noqa: PLC0415

        made["docker"] = DockerDriver(
            worker_id,
            engine=engine_at(config.docker_host),
            user=config.docker_user,
            registries=Registries(config.registries),
        )
    if "fake" in config.drivers:
        made["fake"] = FakeDriver(runs_folder, script=script_of_settings)
    return {name: LoggedDriver(driver, log=log) for name, driver in made.items()}


def script_of_settings(launch: Launch) -> FakeScript:
    """Reads a fake run's script from the settings of its task: run_for_s and code."""
    from lodeworks_formats.protocol import parse_config  # noqa: PLC0415 - only a fake worker needs it here

    told = parse_config((launch.in_dir / "config.yaml").read_text(encoding="utf-8"))
    return FakeScript(run_for_s=float(told.get("run_for_s", 0.0)), code=int(told.get("code", 0)))


async def survey(config: Config, drivers: Mapping[str, Driver]) -> tuple[Fingerprint, Executors, list[Capabilities]]:
    """Finds out what this machine is and what it can run."""
    offer, gpus, answers = await asyncio.gather(
        environments.probe(config.environments, base=config.program_environment),
        fingerprint.nvidia_gpus(),
        asyncio.gather(*[driver.capabilities() for driver in drivers.values()]),
    )
    told = list(answers)
    if "docker" in config.drivers and "docker" not in drivers:
        told.append(Capabilities(name="docker", unavailable=f"there is no {_DOCKER_SOCKET}; install docker"))
    able = {one.name for one in told if one.unavailable is None}
    own = await environments.own_programs(config.executors, base=config.program_environment)
    images = image_programs(config) if "docker" in able else {}
    programs = {**offer.programs, **own.programs, **images} if "process" in able or "fake" in able else {}
    lacking = {name: _no_images(told) for name in IMAGE_PROGRAMS if name not in programs}
    missing = {**offer.missing, **own.missing, **lacking}
    executors = Executors(
        programs=programs,
        image_driver="docker" if "docker" in able else None,
        everything="fake" if "fake" in able else None,
    )
    taken = fingerprint.take(
        folder=config.state,
        gpus=[*gpus, *config.fake_gpus],
        drivers=told,
        programs=list(programs),
        missing=missing,
        labels=config.labels,
        max_runs=config.max_runs,
    )
    return taken, executors, told


def _no_images(told: Sequence[Capabilities]) -> str:
    """Says why this worker fetches and proves no images."""
    reasons = [one.unavailable for one in told if one.name == "docker" and one.unavailable is not None]
    return reasons[0] if reasons else "the drivers docker and process are both needed for it"


class Worker:
    """Runs executors for one controller."""

    def __init__(
        self,
        config: Config,
        *,
        worker_id: str,
        control: ControlPlane,
        transfer: BlobTransfer,
        drivers: Mapping[str, Driver],
        log: logging.Logger,
        clock: Callable[[], float] = time.time,
        ids: Callable[[], str] = lambda: uuid.uuid4().hex,
        chance: Callable[[], float] = random.random,
        look_round: Callable[..., Awaitable[tuple[Fingerprint, Executors, list[Capabilities]]]] = survey,
        learn: Callable[[Polled], None] | None = None,
    ) -> None:
        self._learn = learn
        self._config = config
        self._worker_id = worker_id
        self._control = control
        self._transfer = transfer
        self._drivers = drivers
        self._log = log
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._look_round = look_round

    async def run(self) -> None:
        """Works until cancelled; runs live on then. Raises what ends a conversation for good."""
        config = self._config
        taken, executors, _ = await self._look_round(config, self._drivers)
        self._log.info("offers %s", ", ".join(taken.capabilities) or "nothing")
        for name, reason in sorted(taken.missing.items()):
            self._log.info("without %s: %s", name, reason)
        cache = Cache(config.state / "cache", limit_bytes=config.cache_bytes)
        await cache.open()
        journal = Journal(config.state / "journal.db")
        await journal.open()
        opened, nudge = OpenSession(), asyncio.Event()
        kit = Kit(
            runs_folder=config.state / "runs",
            journal=journal,
            cache=cache,
            transfer=self._transfer,
            control=self._control,
            drivers=self._drivers,
            executors=executors,
            session=opened.id,
            changed=nudge.set,
            clock=self._clock,
            ids=self._ids,
            log=self._log,
            checkpoint_s=config.checkpoint_s,
        )
        runs = Runs(kit, max_runs=config.max_runs, gpus=[gpu.uuid for gpu in taken.gpus])
        conversation = Conversation(
            self._control,
            runs,
            boot_id=self._ids(),
            fingerprint=taken,
            session=opened,
            nudge=nudge,
            health=lambda: fingerprint.health(config.state),
            used_gpus=self._gpu_use(taken).used if taken.gpus else None,
            chance=self._chance,
            log=self._log,
            learn=self._learn,
        )
        try:
            await runs.recover()
            await conversation.hold()
        finally:
            await runs.close()
            await journal.close()

    def _gpu_use(self, taken: Fingerprint) -> GpuUse:
        fake = {gpu.uuid for gpu in self._config.fake_gpus}
        now_s = asyncio.get_running_loop().time
        measure = measured(self._config.fake_gpus, real=any(gpu.uuid not in fake for gpu in taken.gpus))
        return GpuUse(measure, free_below_bytes=self._config.gpu_free_below_bytes, now_s=now_s)


async def work(config: Config, *, log: logging.Logger) -> None:
    """Runs the worker of a state folder until cancelled; renews its certificate at half of its life."""
    folder = identity_folder(config)
    identity = enrolment.load_identity(folder)
    while True:
        identity = await _fresh(folder, identity, log=log)
        moves = _Moves(folder, identity, log=log)
        drivers = make_drivers(config, worker_id=identity.worker_id, runs_folder=config.state / "runs", log=log)
        channel = dial(
            identity.agents,
            ca_pem=identity.ca_pem,
            certificate=identity.client_certificate,
            options=PROMPT_OPTIONS,
        )
        worker = Worker(
            config,
            worker_id=identity.worker_id,
            control=GrpcControlPlane(
                channel,
                hostname=socket.gethostname(),
                explain=partial(
                    explain,
                    target=identity.agents,
                    ca_pem=identity.ca_pem,
                    certificate=identity.client_certificate,
                ),
            ),
            transfer=GrpcBlobTransfer(channel, store=config.store, streams=config.transfer_streams),
            drivers=drivers,
            log=log,
            learn=moves.learn,
        )
        working = asyncio.ensure_future(worker.run())
        renewal = asyncio.ensure_future(_renewal(folder, moves, log=log))
        moving = asyncio.ensure_future(moves.more.wait())
        try:
            await asyncio.wait({working, renewal, moving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return
            # A fresh certificate, or another controller, needs a fresh channel: runs are let go of and taken up as
            # after a restart.
            identity = renewal.result() if renewal.done() else moves.identity
        finally:
            await put_down(working, renewal, moving)
            await channel.close()


class _Moves:
    """Remembers where the controllers say they are, and says when there are more than those connected to."""

    def __init__(self, folder: Path, identity: Identity, *, log: logging.Logger) -> None:
        self._folder = folder
        self._dialled = identity
        self._log = log
        self.identity = identity
        self.more = asyncio.Event()

    def learn(self, polled: Polled) -> None:
        """Takes what a poll was answered."""
        try:
            self.identity = enrolment.relocated(
                self._folder, self.identity, agents_address=polled.agents_address, addresses=polled.addresses
            )
        except (OSError, ChannelError) as error:
            self._log.warning("the addresses of the controllers are not remembered: %s", error)
            return
        if enrolment.adds_places(self.identity, self._dialled):
            self._log.info("the controllers are at %s now", self.identity.agents)
            self.more.set()


async def _fresh(folder: Path, identity: Identity, *, log: logging.Logger) -> Identity:
    """Renews a certificate that has ended, or soon will, before it is used; without an answer the old one is tried."""
    now = datetime.now(UTC)
    if not enrolment.renewal_due(identity, at=now):
        return identity
    try:
        return await enrolment.renew(folder, identity, at=now)
    except EnrolmentError as error:
        log.warning("%s", error)
        if now >= identity.valid[1]:
            raise
        return identity


async def _renewal(folder: Path, moves: _Moves, *, log: logging.Logger) -> Identity:
    """Waits for half of the certificate's life and renews it then."""
    while True:
        identity = moves.identity
        wait_s = enrolment.until_renewal(identity, at=datetime.now(UTC)).total_seconds()
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, _LONGEST_SLEEP_S))
            continue
        try:
            renewed = await enrolment.renew(folder, identity, at=datetime.now(UTC))
        except EnrolmentError as error:
            log.warning("%s; trying again in an hour", error)
            await asyncio.sleep(_RENEWAL_RETRY_S)
        else:
            log.info("the certificate is renewed until %s", renewed.valid[1])
            return renewed


def free_disk_bytes(config: Config) -> int:
    """Returns the free space of the state folder."""
    return shutil.disk_usage(config.state).free


def describe(identity: Identity) -> str:
    """Returns who the worker is, as one JSON line for people and programs."""
    begin, end = identity.valid
    return json.dumps(
        {
            "worker_id": identity.worker_id,
            "name": identity.name,
            "server": identity.server,
            "agents": identity.agents,
            "certificate_from": begin.isoformat(),
            "certificate_until": end.isoformat(),
        }
    )
