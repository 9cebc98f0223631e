"""What content takes room."""

from __future__ import annotations

from lodeworks.api.storage.v1 import storage_pb2 as storage
from lodeworks.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from lodeworks.connection import AsyncConnection


class AsyncStorage:
    """The store of content.

    Args:
        connection: Where it lives.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def usage(self, project: str = "") -> storage.GetUsageResponse:
        """Tells how much a project, or every project of the caller, refers to. Raises NotFoundError."""
        request = storage.GetUsageRequest(project=project)
        response: storage.GetUsageResponse = await self._connection.call(StorageServiceStub, "GetUsage", request)
        return response

    async def collect(self, *, dry_run: bool = False) -> storage.CollectResponse:
        """Removes content that nothing has used for a while, or tells what would go. For administrators."""
        request = storage.CollectRequest(dry_run=dry_run)
        response: storage.CollectResponse = await self._connection.call(StorageServiceStub, "Collect", request)
        return response
