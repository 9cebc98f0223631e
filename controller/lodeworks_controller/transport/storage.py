"""What people call about the room that content takes."""

from typing import Any

import grpc.aio
from lodeworks.api.storage.v1 import storage_pb2, storage_pb2_grpc

from lodeworks_controller.service.collection import Usage
from lodeworks_controller.service.storage import StorageService
from lodeworks_controller.transport.gate import Gate

Context = grpc.aio.ServicerContext[Any, Any]


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """Serves ``lodeworks.api.storage.v1.StorageService``."""

    def __init__(self, storage: StorageService, *, gate: Gate) -> None:
        self._storage = storage
        self._gate = gate

    async def GetUsage(self, request: storage_pb2.GetUsageRequest, context: Context) -> storage_pb2.GetUsageResponse:
        """Tells how much content each project refers to, and how much is stored."""
        usage = await self._storage.usage(await self._gate.caller(context), request.project)
        return storage_pb2.GetUsageResponse(
            projects=[
                storage_pb2.ProjectUsage(project_id=project.id, project=project.name, used=_amount(used))
                for project, used in usage.projects
            ],
            stored=None if usage.stored is None else _amount(usage.stored),
            unreferenced=None if usage.unreferenced is None else _amount(usage.unreferenced),
        )

    async def Collect(self, request: storage_pb2.CollectRequest, context: Context) -> storage_pb2.CollectResponse:
        """Makes one pass of the collector now."""
        collected = await self._storage.collect(await self._gate.caller(context), dry_run=request.dry_run)
        return storage_pb2.CollectResponse(
            removed=storage_pb2.Amount(blobs=collected.blobs, size_bytes=collected.size_bytes),
            largest=[
                storage_pb2.LeavingBlob(digest=blob.digest, size_bytes=blob.size_bytes) for blob in collected.some
            ],
        )


def _amount(usage: Usage) -> storage_pb2.Amount:
    return storage_pb2.Amount(blobs=usage.blobs, size_bytes=usage.size_bytes)
