"""A real controller in this process: real database, real TLS on free ports, and a kind of task that does nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lodeworks.agent.worker.v1 import enrollment_pb2, enrollment_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc
from lodeworks.channel.dial import ClientCertificate, dial
from lodeworks_controller.config import Config
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import NewTask, ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, InvalidError
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.storage.database.migration import migrate
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.trust.installation import create_trust
from lodeworks_controller.wiring.bootstrap import bootstrap
from lodeworks_controller.wiring.controller import Controller
from lodeworks_controller.wiring.ground import grounded

NOTHING = frozenset({"builtin:nothing"})


class NothingKind:
    """Runs nothing and makes an object of that name; its spec and outputs say how it shall go wrong."""

    name = "nothing"

    def __init__(self) -> None:
        self.abandoned: list[tuple[str, FailureReason]] = []

    async def prepare(self, task: Task) -> RunSpec:
        if task.spec.get("bad"):
            raise InvalidError("BAD", "its inputs make no run")
        return RunSpec(executor="builtin:nothing", resources=task.resources)

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        if any(output.role == "broken" for output in outputs):
            raise BadOutputError("not a table", file="scores.tsv", line=3)

        async def commit(tx: Transaction) -> Product:
            return ObjectRef("thing", task.id, "thing@1")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        self.abandoned.append((task.id, reason))
        return None


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Installation:
    """A controller that serves, and the keys to it."""

    controller: Controller
    people: str
    agents: str
    ca_pem: bytes
    token: str
    project_id: str

    def person(self, token: str | None = None) -> grpc.aio.Channel:
        return dial(self.people, ca_pem=self.ca_pem, token=self.token if token is None else token)

    async def enrol(self, name: str) -> tuple[str, grpc.aio.Channel, ClientCertificate]:
        """Returns a new worker's id, its channel to the port of the agents, and its certificate."""
        async with self.person() as channel:
            added = await worker_pb2_grpc.WorkerServiceStub(channel).AddWorker(worker_pb2.AddWorkerRequest(name=name))
            key, csr = signing_request()
            enrolled = await enrollment_pb2_grpc.EnrollmentServiceStub(channel).Enroll(
                enrollment_pb2.EnrollRequest(token=added.token, csr_pem=csr)
            )
        certificate = ClientCertificate(enrolled.certificate_pem, key)
        return enrolled.worker_id, self.agent(certificate), certificate

    def agent(self, certificate: ClientCertificate) -> grpc.aio.Channel:
        """Returns an agent's channel."""
        return dial(self.agents, ca_pem=self.ca_pem, certificate=certificate)

    async def submit(self, **more: object) -> Task:
        """Submits a task that does nothing."""
        values = {"kind": "nothing", "project_id": self.project_id, "title": "a task", "spec": {}, "requires": NOTHING}
        async with self.controller.ground.store.transaction() as tx:
            return await self.controller.engine.tasks.submit(tx, NewTask(**{**values, **more}))  # type: ignore[arg-type]


def signing_request() -> tuple[bytes, bytes]:
    """Returns a new key and a signing request for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, csr.public_bytes(serialization.Encoding.PEM)


@asynccontextmanager
async def installation(state: Path, *, terms: LeaseTerms | None = None, **more: Any) -> AsyncIterator[Installation]:
    """Makes an installation (or takes up the one there) and serves it on free ports."""
    config = Config(state=state, listen="127.0.0.1:0", listen_agents="127.0.0.1:0", listen_metrics="", grace_s=0.5)
    config = replace(config, **more)
    trust = create_trust(config.trust, clock=now)
    migrate(config.database_address)
    token = await bootstrap(config, administrator="ada", project="default", clock=now)
    async with grounded(config, clock=now, pool=Pool()) as ground:
        async with ground.store.snapshot() as tx:
            project = await tx.projects.find("default")
        assert project is not None
        controller = Controller(ground if terms is None else replace(ground, terms=terms))
        controller.engine.kinds.add(NothingKind())
        async with controller.serving() as served:
            yield Installation(
                controller,
                f"127.0.0.1:{served.listen_port}",
                f"127.0.0.1:{served.agents_port}",
                trust.authority.certificate_pem,
                token,
                project.id,
            )
