"""The calls of a content service, the same for people and workers.

The two protos have the same shape and differ in their scope only, which each servicer finds in its own way.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.content_scope import Scope
from lodeworks_controller.transport.gate import Gate

Context = grpc.aio.ServicerContext[Any, Any]


class ContentCalls(ABC):
    """Parses, calls and converts."""

    messages: Any
    """The ``content_pb2`` module of the proto tree."""

    def __init__(self, content: ContentService, *, gate: Gate) -> None:
        self._content = content
        self._gate = gate

    @abstractmethod
    async def _scope(self, request: Any, context: Context) -> Scope:
        """Returns what the caller may reach, or refuses."""

    async def FindMissing(self, request: Any, context: Context) -> Any:
        """Says which digests the scope does not reference."""
        missing = await self._content.find_missing(await self._scope(request, context), request.digests)
        return self.messages.FindMissingResponse(digests=missing)

    async def BatchPut(self, request: Any, context: Context) -> Any:
        """Stores small blobs, all or none."""
        scope = await self._scope(request, context)
        await self._content.put(scope, [(blob.digest, blob.data) for blob in request.blobs])
        return self.messages.BatchPutResponse()

    async def Write(self, request_iterator: Any, context: Context) -> Any:
        """Writes one blob from an offset."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None:
            raise InvalidError("WRITE_EMPTY", "a write needs a first message with scope, digest and size")
        scope = await self._scope(first, context)

        async def pieces() -> AsyncIterator[tuple[int, bytes]]:
            yield first.offset, first.data
            async for request in requests:
                yield request.offset, request.data

        state = await self._content.write(scope, first.digest, size_bytes=first.size_bytes, pieces=pieces())
        return self.messages.WriteResponse(committed_size_bytes=state.committed_bytes, complete=state.complete)

    async def GetWrite(self, request: Any, context: Context) -> Any:
        """Tells how much of an unfinished write is there."""
        state = await self._content.write_state(await self._scope(request, context), request.digest)
        return self.messages.GetWriteResponse(committed_size_bytes=state.committed_bytes, complete=state.complete)

    async def BatchGet(self, request: Any, context: Context) -> Any:
        """Reads several small blobs."""
        blobs = await self._content.read_batch(await self._scope(request, context), request.digests)
        data = [self.messages.BlobData(digest=digest, data=content) for digest, content in blobs]
        return self.messages.BatchGetResponse(blobs=data)

    async def Read(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """Reads a range of one blob."""
        scope = await self._scope(request, context)
        pieces = self._content.read(scope, request.digest, offset=request.offset, limit=request.limit)
        async for offset, data, size_bytes in pieces:
            yield self.messages.ReadResponse(offset=offset, data=data, size_bytes=size_bytes)
