"""Content for workers, in the scope of a lease that they hold."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from lodeworks.agent.worker.v1 import content_pb2, content_pb2_grpc

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content import ContentService, Scope
from lodeworks_controller.transport.content_calls import ContentCalls
from lodeworks_controller.transport.gate import Gate

Context = grpc.aio.ServicerContext[Any, Any]


class LeaseContentServicer(content_pb2_grpc.ContentServiceServicer):
    """Serves ``lodeworks.agent.worker.v1.ContentService``."""

    def __init__(self, content: ContentService, *, gate: Gate) -> None:
        self._content = content
        self._calls = ContentCalls(content, content_pb2)
        self._gate = gate

    async def FindMissing(self, request: content_pb2.FindMissingRequest, context: Context) -> Any:
        """Says which digests the scope does not reference."""
        return await self._calls.find_missing(await self._scope(request, context), request)

    async def BatchPut(self, request: content_pb2.BatchPutRequest, context: Context) -> Any:
        """Stores small blobs, all or none."""
        return await self._calls.batch_put(await self._scope(request, context), request)

    async def Write(self, request_iterator: Any, context: Context) -> Any:
        """Writes one blob from an offset."""
        requests: AsyncIterator[content_pb2.WriteRequest] = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None:
            raise InvalidError("WRITE_EMPTY", "a write needs a first message with scope, digest and size")
        return await self._calls.write(await self._scope(first, context), first, requests)

    async def GetWrite(self, request: content_pb2.GetWriteRequest, context: Context) -> Any:
        """Tells how much of an unfinished write is there."""
        return await self._calls.get_write(await self._scope(request, context), request)

    async def BatchGet(self, request: content_pb2.BatchGetRequest, context: Context) -> Any:
        """Reads several small blobs."""
        return await self._calls.batch_get(await self._scope(request, context), request)

    async def Read(self, request: content_pb2.ReadRequest, context: Context) -> AsyncIterator[content_pb2.ReadResponse]:
        """Reads a range of one blob."""
        async for response in self._calls.read(await self._scope(request, context), request):
            yield response

    async def _scope(self, request: Any, context: Context) -> Scope:
        worker = self._gate.worker(context)
        lease = request.scope
        return await self._content.lease_scope(worker, lease.task_id, lease_epoch=lease.lease_epoch)
