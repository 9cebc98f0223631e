"""Enrolment and renewal of workers and devices, on the listener that asks for no client certificate."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from lodeworks.agent.device.v1 import enrollment_pb2 as device_pb2
from lodeworks.agent.device.v1 import enrollment_pb2_grpc as device_pb2_grpc
from lodeworks.agent.worker.v1 import enrollment_pb2 as worker_pb2
from lodeworks.agent.worker.v1 import enrollment_pb2_grpc as worker_pb2_grpc

from lodeworks_controller.domain.identity import AgentKind
from lodeworks_controller.service.enrolment import EnrolmentService

Context = grpc.aio.ServicerContext[Any, Any]


class WorkerEnrolmentServicer(worker_pb2_grpc.EnrollmentServiceServicer):
    """Serves ``lodeworks.agent.worker.v1.EnrollmentService``.

    Args:
        enrolment: The service.
        agents_address: Where agents connect with their certificate; an empty host means the one just dialled.
    """

    def __init__(self, enrolment: EnrolmentService, *, agents_address: str) -> None:
        self._enrolment = enrolment
        self._agents_address = agents_address

    async def Enroll(self, request: worker_pb2.EnrollRequest, context: Context) -> worker_pb2.EnrollResponse:
        """Trades a one-time token for a certificate."""
        enrolled = await self._enrolment.enrol(
            AgentKind.WORKER, request.token, csr_pem=request.csr_pem, hostname=request.hostname
        )
        return worker_pb2.EnrollResponse(
            worker_id=enrolled.agent.identity.id,
            certificate_pem=enrolled.certificate.pem,
            ca_pem=self._enrolment.authority_pem,
            agents_address=self._agents_address,
            name=enrolled.agent.name,
        )

    async def Renew(self, request: worker_pb2.RenewRequest, context: Context) -> worker_pb2.RenewResponse:
        """Trades proof of the enrolled key for a fresh certificate."""
        certificate = await self._enrolment.renew(
            AgentKind.WORKER,
            certificate_pem=request.certificate_pem,
            csr_pem=request.csr_pem,
            message=renewal_message(request.csr_pem, request.sign_time),
            signature=request.signature,
        )
        return worker_pb2.RenewResponse(certificate_pem=certificate.pem, ca_pem=self._enrolment.authority_pem)


class DeviceEnrolmentServicer(device_pb2_grpc.EnrollmentServiceServicer):
    """Serves ``lodeworks.agent.device.v1.EnrollmentService``.

    Args:
        enrolment: The service.
        trusted_root: Returns the root metadata of the release repository.
        agents_address: Where agents connect with their certificate; an empty host means the one just dialled.
    """

    def __init__(
        self,
        enrolment: EnrolmentService,
        *,
        trusted_root: Callable[[], Awaitable[bytes]],
        agents_address: str,
    ) -> None:
        self._enrolment = enrolment
        self._trusted_root = trusted_root
        self._agents_address = agents_address

    async def Enroll(self, request: device_pb2.EnrollRequest, context: Context) -> device_pb2.EnrollResponse:
        """Trades a one-time token for a certificate and the root of trust."""
        enrolled = await self._enrolment.enrol(
            AgentKind.DEVICE, request.token, csr_pem=request.csr_pem, hostname=request.hostname
        )
        return device_pb2.EnrollResponse(
            device_id=enrolled.agent.identity.id,
            name=enrolled.agent.name,
            certificate_pem=enrolled.certificate.pem,
            ca_pem=self._enrolment.authority_pem,
            agents_address=self._agents_address,
            trusted_root=await self._trusted_root(),
        )

    async def Renew(self, request: device_pb2.RenewRequest, context: Context) -> device_pb2.RenewResponse:
        """Trades proof of the enrolled key for a fresh certificate."""
        certificate = await self._enrolment.renew(
            AgentKind.DEVICE,
            certificate_pem=request.certificate_pem,
            csr_pem=request.csr_pem,
            message=renewal_message(request.csr_pem, request.sign_time),
            signature=request.signature,
        )
        return device_pb2.RenewResponse(certificate_pem=certificate.pem, ca_pem=self._enrolment.authority_pem)


def renewal_message(csr_pem: bytes, sign_time: Timestamp) -> bytes:
    """Returns what an agent signs with its old key: the request, then the moment as protobuf's JSON writes it."""
    return csr_pem + sign_time.ToJsonString().encode("ascii")
