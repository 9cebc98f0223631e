"""The whole controller: its parts put together, and what is served where."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import gethostname

from lodeworks.agent.worker.v1 import content_pb2_grpc as lease_content_grpc
from lodeworks.agent.worker.v1 import enrollment_pb2_grpc as worker_enrolment_grpc
from lodeworks.agent.worker.v1 import log_pb2_grpc, worker_pb2_grpc
from lodeworks.api.content.v1 import content_pb2_grpc
from lodeworks.api.identity.v1 import identity_pb2_grpc
from lodeworks.api.quota.v1 import quota_pb2_grpc
from lodeworks.api.task.v1 import task_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2_grpc as worker_admin_grpc

from lodeworks_controller.domain.identity import AgentKind
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.device import admit_device
from lodeworks_controller.service.enrolment import EnrolmentService, Revocations, admit_worker
from lodeworks_controller.service.figures import FigureService
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.service.quota_service import QuotaService
from lodeworks_controller.service.worker import WorkerService
from lodeworks_controller.storage.blobs.folder import free_bytes
from lodeworks_controller.transport.agent_content import LeaseContentServicer
from lodeworks_controller.transport.content import ContentServicer
from lodeworks_controller.transport.enrolment import WorkerEnrolmentServicer
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.identity import IdentityServicer, ServerFacts
from lodeworks_controller.transport.listeners import Register, listen_for_agents, listen_for_people
from lodeworks_controller.transport.metrics import metrics_page
from lodeworks_controller.transport.places import Places
from lodeworks_controller.transport.quota import QuotaServicer
from lodeworks_controller.transport.task import TaskServicer
from lodeworks_controller.transport.worker_admin import WorkerAdministrationServicer
from lodeworks_controller.transport.worker_agent import WorkerAgentServicer, WorkerLogServicer
from lodeworks_controller.wiring.datasets import DatasetPart
from lodeworks_controller.wiring.engine import Engine
from lodeworks_controller.wiring.ground import Ground
from lodeworks_controller.wiring.models import ModelGround, ModelPart
from lodeworks_controller.wiring.operations import OperationsPart, methods_of
from lodeworks_controller.wiring.storage import StoragePart
from lodeworks_controller.wiring.version import program_version

_log = logging.getLogger(__name__)

_REVOCATIONS_S = 2.0


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
        if ground.config.database_url:
            # What another controller revoked.
            self.engine.also(_REVOCATIONS_S, "revocations", lambda: self.revocations.load(store))
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
            scratch=ground.config.scratch,
            tasks=self.engine.tasks,
            ids=ground.ids,
        )
        self.models = ModelPart(self._model_ground())
        self.storage = StoragePart(ground, roles=self.engine.roles)
        self.operations = OperationsPart(
            ground, methods=methods_of(self.datasets, self.models), roles=self.engine.roles
        )
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
        facts = ServerFacts(
            program_version(),
            fingerprint,
            agents_address,
            fingerprint.removeprefix("sha256:")[:26],
            addresses=self.ground.config.addresses,
        )
        identity = IdentityServicer(self.identity, gate=gate, facts=facts)
        tasks = TaskServicer(engine.tasks, engine.news, caller=gate.caller)
        quotas = QuotaServicer(QuotaService(self.ground.store), gate=gate)
        workers = WorkerAdministrationServicer(
            self.workers, self.enrolment, caller=gate.caller, ca_fingerprint=fingerprint
        )
        enrolment = WorkerEnrolmentServicer(self.enrolment, agents_address=agents_address)
        content = ContentServicer(self.content, gate=gate)
        return [
            lambda server: identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, server),
            lambda server: task_pb2_grpc.add_TaskServiceServicer_to_server(tasks, server),
            lambda server: quota_pb2_grpc.add_QuotaServiceServicer_to_server(quotas, server),
            lambda server: worker_admin_grpc.add_WorkerServiceServicer_to_server(workers, server),
            lambda server: worker_enrolment_grpc.add_EnrollmentServiceServicer_to_server(enrolment, server),
            lambda server: content_pb2_grpc.add_ContentServiceServicer_to_server(content, server),
            *self.datasets.for_people(mining=self.models.mining, gate=gate),
            *self.models.for_people(gate, agents_address=agents_address),
            *self.operations.for_people(gate),
            *self.storage.for_people(gate),
        ]

    def for_agents(self) -> Sequence[Register]:
        """Returns what workers and devices may call."""
        gate, engine, config = self.gate, self.engine, self.ground.config
        places = Places(",".join(config.agent_addresses), config.addresses)
        workers = WorkerAgentServicer(
            engine.leases,
            engine.grants,
            engine.checkpoints,
            agent=gate.worker,
            terms=self.ground.terms,
            version=program_version(),
            places=places,
        )
        logs = WorkerLogServicer(engine.logs, agent=gate.worker)
        content = LeaseContentServicer(self.content, gate=gate)
        return [
            lambda server: worker_pb2_grpc.add_WorkerServiceServicer_to_server(workers, server),
            lambda server: log_pb2_grpc.add_LogServiceServicer_to_server(logs, server),
            lambda server: lease_content_grpc.add_ContentServiceServicer_to_server(content, server),
            *self.models.for_agents(gate, places=places),
        ]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Served]:
        """Listens on both ports and runs the background roles, until left."""
        config, trust = self.ground.config, self.ground.trust
        await self.revocations.load(self.ground.store)
        names = (*_names(config.listen), *_names(config.listen_agents), *config.names)
        kept = config.state / "tls" if config.shared else None
        chain, key = await asyncio.to_thread(trust.listener_certificate, sorted(set(names)), kept=kept)
        agents = await listen_for_agents(
            config.listen_agents,
            chain_pem=chain,
            key_pem=key,
            ca_pem=trust.authority.certificate_pem,
            services=self.for_agents(),
            logger=_log,
            meter=self.ground.meter,
        )
        try:
            people = await listen_for_people(
                config.listen,
                chain_pem=chain,
                key_pem=key,
                services=self.for_people(",".join(config.agent_addresses) or f":{agents.port}"),
                logger=_log,
                meter=self.ground.meter,
            )
        except BaseException:
            await agents.stop(grace_s=0)
            raise
        try:
            figures = FigureService(
                self.ground.store, terms=self.ground.terms, free_bytes=lambda: free_bytes(config.state)
            )
            meter = self.ground.meter
            async with (
                self.engine.running(),
                self.operations.running(),
                self.storage.running(),
                self.datasets.running(self.engine.roles),
                metrics_page(config.listen_metrics, lambda: meter.page(figures.measure)),
            ):
                await asyncio.gather(agents.serve(), people.serve())
                try:
                    yield Served(people.port, agents.port, trust.authority.fingerprint)
                finally:
                    await asyncio.gather(agents.refuse(), people.refuse())
                    await asyncio.sleep(config.drain_s)
        finally:
            # Open polls and watches end by themselves; what still runs then has the grace.
            self.ground.wakes.close()
            await asyncio.gather(agents.stop(grace_s=config.grace_s), people.stop(grace_s=config.grace_s))


def _names(listen: str) -> tuple[str, ...]:
    host = listen.rpartition(":")[0].strip("[]")
    known = ("localhost", "127.0.0.1", "::1", gethostname())
    return known if host in {"", "0.0.0.0", "::"} else (*known, host)  # noqa: S104 (compared, not bound)
