"""The doors of a controller, in process: trust, identity, enrolment and content behind both real listeners."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lodeworks.agent.device.v1 import enrollment_pb2_grpc as device_grpc
from lodeworks.agent.worker.v1 import content_pb2_grpc as lease_content_grpc
from lodeworks.agent.worker.v1 import enrollment_pb2 as worker_pb2
from lodeworks.agent.worker.v1 import enrollment_pb2_grpc as worker_grpc
from lodeworks.api.content.v1 import content_pb2_grpc
from lodeworks.api.identity.v1 import identity_pb2_grpc
from lodeworks.channel.dial import ClientCertificate, dial
from lodeworks_controller.domain.identity import AgentIdentity, AgentKind, Principal
from lodeworks_controller.domain.ids import Ids, ulids
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.enrolment import (
    WORKER_TOKEN_LIFETIME,
    EnrolmentService,
    Revocations,
    admit_worker,
)
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.transport.agent_content import LeaseContentServicer
from lodeworks_controller.transport.content import ContentServicer
from lodeworks_controller.transport.enrolment import DeviceEnrolmentServicer, WorkerEnrolmentServicer
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.identity import IdentityServicer, ServerFacts
from lodeworks_controller.transport.listeners import Listener, Register, listen_for_agents, listen_for_people
from lodeworks_controller.trust.installation import Trust, create_trust


class Hands:
    """A clock that stands where it is put; TLS believes the machine's own, so it starts there."""

    def __init__(self) -> None:
        self.now = datetime.now(tz=UTC)

    def __call__(self) -> datetime:
        return self.now


def new_key() -> ec.EllipticCurvePrivateKey:
    """Makes the key of an agent."""
    return ec.generate_private_key(ec.SECP256R1())


def csr_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Makes a signing request."""
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class FrontDoor:
    """Both listeners with what stands behind them, and one administrator."""

    clock: Hands
    ids: Ids
    trust: Trust
    store: SqlStore
    blobs: DiskBlobStore
    identity: IdentityService
    enrolment: EnrolmentService
    content: ContentService
    revocations: Revocations
    people: Listener
    agents: Listener
    administrator: Principal
    token: str
    devices: list[str]

    @property
    def ca_pem(self) -> bytes:
        """The authority."""
        return self.trust.authority.certificate_pem

    @property
    def people_target(self) -> str:
        """Where people dial."""
        return f"127.0.0.1:{self.people.port}"

    @property
    def agents_target(self) -> str:
        """Where agents dial."""
        return f"127.0.0.1:{self.agents.port}"

    def dial_people(self, *, token: str | None = None) -> grpc.aio.Channel:
        """Dials as the administrator, or with another token."""
        return dial(self.people_target, ca_pem=self.ca_pem, token=self.token if token is None else token)

    def dial_agents(self, certificate: ClientCertificate) -> grpc.aio.Channel:
        """Dials as an agent."""
        return dial(self.agents_target, ca_pem=self.ca_pem, certificate=certificate)

    async def add_worker(self, name: str = "box") -> tuple[str, ClientCertificate]:
        """Announces and enrols a worker over the wire; returns its id and certificate."""
        _, token = await self.enrolment.add_worker(
            self.administrator, name, labels={}, lifetime=WORKER_TOKEN_LIFETIME, request_id=""
        )
        key = new_key()
        async with dial(self.people_target, ca_pem=self.ca_pem) as channel:
            stub = worker_grpc.EnrollmentServiceStub(channel)
            request = worker_pb2.EnrollRequest(token=token, csr_pem=csr_of(key), hostname="host")
            response = await stub.Enroll(request)
        return response.worker_id, ClientCertificate(response.certificate_pem, key_pem(key))

    async def announce_device(self) -> tuple[AgentIdentity, str]:
        """Announces a device; returns it with its token."""
        identity = AgentIdentity(AgentKind.DEVICE, self.ids())
        async with self.store.transaction() as tx:
            return identity, await self.enrolment.announce(tx, identity, name="cam", lifetime=WORKER_TOKEN_LIFETIME)


@asynccontextmanager
async def open_front_door(folder: Path) -> AsyncIterator[FrontDoor]:
    """Builds everything in a folder, as main does, and listens on free ports."""
    clock = Hands()
    ids = ulids(clock)
    trust = create_trust(folder / "trust", clock=clock)
    store = await SqlStore.open(folder / "lode.db", clock=clock, ids=ids)
    await store.create_schema()
    blobs = DiskBlobStore(folder / "blobs", ids=ids)
    blobs.open()
    identity = IdentityService(store, ids=ids, secrets=trust.bearer_secrets)
    revocations = Revocations()
    devices: list[str] = []
    enrolment = _enrolment(store, trust=trust, revocations=revocations, ids=ids, devices=devices)
    content = ContentService(store, blobs)
    behind = _Behind(trust, identity, enrolment, content, Gate(identity, revocations=revocations))
    user, token = await identity.bootstrap("local")
    try:
        async with _listening(behind) as (people, agents):
            yield FrontDoor(
                clock=clock,
                ids=ids,
                trust=trust,
                store=store,
                blobs=blobs,
                identity=identity,
                enrolment=enrolment,
                content=content,
                revocations=revocations,
                people=people,
                agents=agents,
                administrator=Principal(user.id, user.name, user.role),
                token=token,
                devices=devices,
            )
    finally:
        await store.close()


@dataclass(frozen=True)
class _Behind:
    """What the listeners hand their calls to."""

    trust: Trust
    identity: IdentityService
    enrolment: EnrolmentService
    content: ContentService
    gate: Gate


def _enrolment(
    store: SqlStore, *, trust: Trust, revocations: Revocations, ids: Ids, devices: list[str]
) -> EnrolmentService:
    async def admit_device(tx: Transaction, agent: AgentIdentity, hostname: str) -> None:
        devices.append(f"{agent.id} {hostname}")

    return EnrolmentService(
        store,
        authority=trust.authority,
        admissions={AgentKind.WORKER: admit_worker, AgentKind.DEVICE: admit_device},
        revocations=revocations,
        ids=ids,
        secrets=trust.enrolment_secrets,
    )


@asynccontextmanager
async def _listening(behind: _Behind) -> AsyncIterator[tuple[Listener, Listener]]:
    chain, key = behind.trust.listener_certificate(["lode.example"])
    logger = logging.getLogger("lodeworks.test")
    lease_content = LeaseContentServicer(behind.content, gate=behind.gate)
    agents = await listen_for_agents(
        "127.0.0.1:0",
        chain_pem=chain,
        key_pem=key,
        ca_pem=behind.trust.authority.certificate_pem,
        services=[lambda server: lease_content_grpc.add_ContentServiceServicer_to_server(lease_content, server)],
        logger=logger,
    )
    people = await listen_for_people(
        "127.0.0.1:0",
        chain_pem=chain,
        key_pem=key,
        services=_for_people(behind, agents_address=f":{agents.port}"),
        logger=logger,
    )
    try:
        yield people, agents
    finally:
        await people.stop(grace_s=0)
        await agents.stop(grace_s=0)


def _for_people(behind: _Behind, *, agents_address: str) -> list[Register]:
    trust, gate, enrolment = behind.trust, behind.gate, behind.enrolment
    facts = ServerFacts("0.1.0", trust.authority.fingerprint, agents_address, "installation")
    who = IdentityServicer(behind.identity, gate=gate, facts=facts)
    workers = WorkerEnrolmentServicer(enrolment, agents_address=agents_address)
    cams = DeviceEnrolmentServicer(enrolment, trusted_root=trust.repository.trusted_root, agents_address=agents_address)
    theirs = ContentServicer(behind.content, gate=gate)
    return [
        lambda server: identity_pb2_grpc.add_IdentityServiceServicer_to_server(who, server),
        lambda server: worker_grpc.add_EnrollmentServiceServicer_to_server(workers, server),
        lambda server: device_grpc.add_EnrollmentServiceServicer_to_server(cams, server),
        lambda server: content_pb2_grpc.add_ContentServiceServicer_to_server(theirs, server),
    ]
