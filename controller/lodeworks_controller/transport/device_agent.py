"""What devices call: their desired state, the release repository, the blobs that their document names."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from lodeworks.agent.device.v1 import device_pb2, device_pb2_grpc

from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.content_scope import device_scope
from lodeworks_controller.service.device_sync import DeviceSyncService, read_report
from lodeworks_controller.service.release import Releases
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.places import NO_PLACES, Places
from lodeworks_controller.transport.wire import from_duration

Context = grpc.aio.ServicerContext[Any, Any]


class DeviceAgentServicer(device_pb2_grpc.DeviceServiceServicer):
    """Serves ``lodeworks.agent.device.v1.DeviceService``."""

    def __init__(
        self,
        devices: DeviceSyncService,
        *,
        releases: Releases,
        content: ContentService,
        gate: Gate,
        places: Places = NO_PLACES,
    ) -> None:
        self._places = places
        self._devices = devices
        self._releases = releases
        self._content = content
        self._gate = gate

    async def Sync(self, request: device_pb2.SyncRequest, context: Context) -> device_pb2.SyncResponse:
        """Takes the reported state and waits for a newer desired one."""
        report = read_report(
            request.reported_state,
            boot_id=request.boot_id,
            seq=request.seq,
            observed_generation=request.observed_generation,
            version=request.version,
        )
        document = await self._devices.sync(self._gate.device(context), report, wait_s=from_duration(request.wait))
        answer = device_pb2.SyncResponse(agents_address=self._places.agents, addresses=self._places.people)
        if document is not None:
            answer.desired_state, answer.signature, answer.key_id = document.data, document.signature, document.key_id
        return answer

    async def GetMetadata(
        self, request: device_pb2.GetMetadataRequest, context: Context
    ) -> device_pb2.GetMetadataResponse:
        """Reads one metadata file of the release repository."""
        self._gate.device(context)
        return device_pb2.GetMetadataResponse(data=await self._releases.metadata(request.name))

    async def GetTarget(self, request: device_pb2.GetTargetRequest, context: Context) -> device_pb2.GetTargetResponse:
        """Reads one target file of the release repository."""
        self._gate.device(context)
        return device_pb2.GetTargetResponse(data=await self._releases.target(request.path))

    async def ReadBlob(
        self, request: device_pb2.ReadBlobRequest, context: Context
    ) -> AsyncIterator[device_pb2.ReadBlobResponse]:
        """Reads a range of a blob that the device's document names."""
        identity = self._gate.device(context)
        await self._devices.require_known(identity)
        pieces = self._content.read(
            device_scope(identity.id), request.digest, offset=request.offset, limit=request.limit
        )
        async for offset, data, size_bytes in pieces:
            yield device_pb2.ReadBlobResponse(offset=offset, data=data, size_bytes=size_bytes)
