"""The controller put together by hand: what is made of what, and what is served where."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from socket import gethostname

from lodeworks.agent.worker.v1 import content_pb2_grpc as lease_content_grpc
from lodeworks.agent.worker.v1 import enrollment_pb2_grpc as worker_enrolment_grpc
from lodeworks.agent.worker.v1 import log_pb2_grpc, worker_pb2_grpc
from lodeworks.api.content.v1 import content_pb2_grpc
from lodeworks.api.identity.v1 import identity_pb2_grpc
from lodeworks.api.task.v1 import task_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2_grpc as worker_admin_grpc

from lodeworks_controller.background.finisher import start_finisher
from lodeworks_controller.background.outbox import Outbox, start_outbox
from lodeworks_controller.background.placer import start_placer
from lodeworks_controller.background.reaper import start_reaper
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.config import Config
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.identity import AgentKind
from lodeworks_controller.domain.ids import Ids, ulids
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.retry import Backoff
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.device import admit_device
from lodeworks_controller.service.enrolment import EnrolmentService, Revocations, admit_worker
from lodeworks_controller.service.figures import FigureService
from lodeworks_controller.service.finishing import Finishing
from lodeworks_controller.service.granting import GrantService
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.service.kinds.base import Kinds
from lodeworks_controller.service.lease import LeaseService
from lodeworks_controller.service.log import LogService, TaskNews
from lodeworks_controller.service.outbox import OutboxMessage
from lodeworks_controller.service.planning import Planning
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.reaping import Reaping
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.service.worker import WorkerService
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.storage.logs.files import LogFiles, MetricFiles
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.transport.agent_content import LeaseContentServicer
from lodeworks_controller.transport.content import ContentServicer
from lodeworks_controller.transport.enrolment import WorkerEnrolmentServicer
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.identity import IdentityServicer, ServerFacts
from lodeworks_controller.transport.listeners import Register, listen_for_agents, listen_for_people
from lodeworks_controller.transport.metrics import metrics_page
from lodeworks_controller.transport.task import TaskServicer
from lodeworks_controller.transport.worker_admin import WorkerAdministrationServicer
from lodeworks_controller.transport.worker_agent import WorkerAgentServicer, WorkerLogServicer
from lodeworks_controller.trust.installation import Trust, load_trust
from lodeworks_controller.wiring_datasets import DatasetPart
from lodeworks_controller.wiring_models import ModelGround, ModelPart

_log = logging.getLogger(__name__)

_RESIGN_S = 600.0
"""How often the signatures of the release repository are looked at."""


def program_version() -> str:
    """Returns the version of the installed program."""
    try:
        return version("lodeworks-platform")
    except PackageNotFoundError:
        return "0"


@dataclass(slots=True)
class Ground:
    """What everything else stands on."""

    config: Config
    clock: Clock
    ids: Ids
    store: SqlStore
    blobs: DiskBlobStore
    trust: Trust
    pool: Pool
    wakes: Wakes
    terms: LeaseTerms


class Engine:
    """The task engine: services, and the roles that run beside the rpcs."""

    def __init__(self, ground: Ground, *, chance: Callable[[], float]) -> None:
        store, wakes, terms = ground.store, ground.wakes, ground.terms
        self._ground = ground
        self.kinds = Kinds()
        self.log_files = LogFiles(ground.config.logs)
        self.metric_files = MetricFiles(ground.config.logs)
        self._settlement = Settlement(self.kinds, wakes=wakes)
        ends = AttemptEnd(wakes=wakes, backoff=Backoff(), chance=chance)
        self.tasks = TaskService(store, settlement=self._settlement, enter=enter, wakes=wakes, ids=ground.ids)
        self.leases = LeaseService(
            store,
            ends=ends,
            wakes=wakes,
            ids=ground.ids,
            terms=terms,
            find_missing=ground.blobs.find_missing,
            log_tail=self._log_tail,
        )
        self.grants = GrantService(store, wakes=wakes, terms=terms, chance=chance)
        self.logs = LogService(self.log_files, self.metric_files, check=self.leases.check, wakes=wakes)
        self.news = TaskNews(self.tasks, self.log_files, self.metric_files, wakes=wakes)
        self._reaping = Reaping(store, ends=ends, wakes=wakes)

    async def _log_tail(self, task_id: str, lease_epoch: int) -> Sequence[str]:
        return await self.logs.tail(task_id, lease_epoch)

    async def _resign(self) -> None:
        if await self._ground.trust.repository.refresh():
            _log.info("the release repository was signed anew")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the background roles."""
        ground = self._ground
        store, wakes = ground.store, ground.wakes
        ticks = Ticks()
        planning = Planning(store, self.kinds, settlement=self._settlement, wakes=wakes, terms=ground.terms)
        finishing = Finishing(
            store, self.kinds, settlement=self._settlement, wakes=wakes, at_once=ground.config.finish_at_once
        )
        rousers = [
            start_placer(planning, wakes=wakes, ticks=ticks),
            start_finisher(finishing, wakes=wakes, ticks=ticks),
            start_outbox(Outbox(store, _deliver), wakes=wakes, ticks=ticks),
        ]
        start_reaper(self._reaping, terms=ground.terms, ticks=ticks)
        ticks.every(_RESIGN_S, "release repository", self._resign)
        for signal in (wakes.placer, wakes.finisher, wakes.outbox):
            signal.set()  # what waited while the controller was away
        ticks.start()
        try:
            yield
        finally:
            ticks.stop()
            await asyncio.gather(*(rouser.stop() for rouser in rousers))
            await asyncio.gather(planning.stop(), finishing.stop())


async def _deliver(message: OutboxMessage) -> None:
    """Hands a notice on; webhooks and mail will stand here, so far it is a line of the log."""
    _log.info("%s %s", message.topic, message.payload.get("task_id", ""))


@dataclass(frozen=True, slots=True)
class Served:
    """Where the controller listens."""

    listen_port: int
    agents_port: int
    ca_fingerprint: str


class Controller:
    """Everything, ready to listen."""

    def __init__(self, ground: Ground, *, chance: Callable[[], float] = random.random) -> None:
        self.ground = ground
        store, trust = ground.store, ground.trust
        self.engine = Engine(ground, chance=chance)
        self.revocations = Revocations()
        self.identity = IdentityService(store, ids=ground.ids, secrets=trust.bearer_secrets)
        self.gate = Gate(self.identity, revocations=self.revocations)
        self.enrolment = EnrolmentService(
            store,
            authority=trust.authority,
            admissions={AgentKind.WORKER: admit_worker, AgentKind.DEVICE: admit_device},
            revocations=self.revocations,
            ids=ground.ids,
            secrets=trust.enrolment_secrets,
        )
        self.content = ContentService(store, ground.blobs)
        self.workers = WorkerService(store, revoke=self.enrolment.revoke, wakes=ground.wakes, terms=ground.terms)
        self.datasets = DatasetPart(
            store,
            ground.blobs,
            pool=ground.pool,
            scratch=ground.config.state / "scratch",
            tasks=self.engine.tasks,
            ids=ground.ids,
        )
        self.models = ModelPart(self._model_ground())
        for kind in (*self.datasets.kinds(), *self.models.kinds()):
            self.engine.kinds.add(kind)

    def _model_ground(self) -> ModelGround:
        ground = self.ground
        return ModelGround(
            store=ground.store,
            blobs=ground.blobs,
            trust=ground.trust,
            wakes=ground.wakes,
            terms=ground.terms,
            clock=ground.clock,
            ids=ground.ids,
            tasks=self.engine.tasks,
            enrolment=self.enrolment,
            content=self.content,
            segments=self.datasets.segments,
            views=self.datasets.views,
            predictions=self.datasets.predictions,
            workspace=ground.config.state / "packages",
        )

    def for_people(self, agents_address: str) -> Sequence[Register]:
        """Returns what people and enrolling agents may call."""
        gate, engine = self.gate, self.engine
        fingerprint = self.ground.trust.authority.fingerprint
        facts = ServerFacts(program_version(), fingerprint, agents_address, fingerprint.removeprefix("sha256:")[:26])
        identity = IdentityServicer(self.identity, gate=gate, facts=facts)
        tasks = TaskServicer(engine.tasks, engine.news, caller=gate.caller)
        workers = WorkerAdministrationServicer(
            self.workers, self.enrolment, caller=gate.caller, ca_fingerprint=fingerprint
        )
        enrolment = WorkerEnrolmentServicer(self.enrolment, agents_address=agents_address)
        content = ContentServicer(self.content, gate=gate)
        return [
            lambda server: identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, server),
            lambda server: task_pb2_grpc.add_TaskServiceServicer_to_server(tasks, server),
            lambda server: worker_admin_grpc.add_WorkerServiceServicer_to_server(workers, server),
            lambda server: worker_enrolment_grpc.add_EnrollmentServiceServicer_to_server(enrolment, server),
            lambda server: content_pb2_grpc.add_ContentServiceServicer_to_server(content, server),
            *self.datasets.for_people(mining=self.models.mining, gate=gate),
            *self.models.for_people(gate, agents_address=agents_address),
        ]

    def for_agents(self) -> Sequence[Register]:
        """Returns what workers and devices may call."""
        gate, engine = self.gate, self.engine
        workers = WorkerAgentServicer(
            engine.leases, engine.grants, agent=gate.worker, terms=self.ground.terms, version=program_version()
        )
        logs = WorkerLogServicer(engine.logs, agent=gate.worker)
        content = LeaseContentServicer(self.content, gate=gate)
        return [
            lambda server: worker_pb2_grpc.add_WorkerServiceServicer_to_server(workers, server),
            lambda server: log_pb2_grpc.add_LogServiceServicer_to_server(logs, server),
            lambda server: lease_content_grpc.add_ContentServiceServicer_to_server(content, server),
            *self.models.for_agents(gate),
        ]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Served]:
        """Listens on both ports and runs the background roles, until left."""
        config, trust = self.ground.config, self.ground.trust
        await self.revocations.load(self.ground.store)
        names = (*_names(config.listen), *_names(config.listen_agents), *config.names)
        chain, key = await asyncio.to_thread(trust.listener_certificate, sorted(set(names)))
        agents = await listen_for_agents(
            config.listen_agents,
            chain_pem=chain,
            key_pem=key,
            ca_pem=trust.authority.certificate_pem,
            services=self.for_agents(),
            logger=_log,
        )
        try:
            people = await listen_for_people(
                config.listen,
                chain_pem=chain,
                key_pem=key,
                services=self.for_people(f":{agents.port}"),
                logger=_log,
            )
        except BaseException:
            await agents.stop(grace_s=0)
            raise
        try:
            measure = FigureService(self.ground.store, terms=self.ground.terms).measure
            async with self.engine.running(), metrics_page(config.listen_metrics, measure):
                yield Served(people.port, agents.port, trust.authority.fingerprint)
        finally:
            # Open polls and watches end by themselves; what still runs then has the grace.
            self.ground.wakes.close()
            await asyncio.gather(agents.stop(grace_s=config.grace_s), people.stop(grace_s=config.grace_s))


def _names(listen: str) -> tuple[str, ...]:
    host = listen.rpartition(":")[0].strip("[]")
    known = ("localhost", "127.0.0.1", "::1", gethostname())
    return known if host in {"", "0.0.0.0", "::"} else (*known, host)  # noqa: S104 (compared, not bound)


@asynccontextmanager
async def grounded(config: Config, *, clock: Clock, pool: Pool) -> AsyncIterator[Ground]:
    """Opens the state of an installation, and closes it when left."""
    ids = ulids(clock)
    trust = await asyncio.to_thread(load_trust, config.trust, clock=clock)
    blobs = DiskBlobStore(config.blobs, ids=ids)
    await asyncio.to_thread(blobs.open)
    store = await SqlStore.open(config.database, clock=clock, ids=ids)
    try:
        yield Ground(config, clock, ids, store, blobs, trust, pool, Wakes(), LeaseTerms())
    finally:
        await store.close()
