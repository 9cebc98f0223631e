"""The content calls between messages and the service, the same for people and workers.

The two protos have the same shape and differ in their scope only; each servicer finds the scope and calls these.
"""

from collections.abc import AsyncIterator
from typing import Any

from lodeworks_controller.service.content import ContentService, Scope


class ContentCalls:
    """Parses, calls and converts.

    Args:
        content: The service.
        messages: The ``content_pb2`` module of the proto tree.
    """

    def __init__(self, content: ContentService, messages: Any) -> None:
        self._content = content
        self._messages = messages

    async def find_missing(self, scope: Scope, request: Any) -> Any:
        """Answers FindMissing."""
        return self._messages.FindMissingResponse(digests=await self._content.find_missing(scope, request.digests))

    async def batch_put(self, scope: Scope, request: Any) -> Any:
        """Answers BatchPut."""
        await self._content.put(scope, [(blob.digest, blob.data) for blob in request.blobs])
        return self._messages.BatchPutResponse()

    async def write(self, scope: Scope, first: Any, rest: AsyncIterator[Any]) -> Any:
        """Answers Write; the first message was read to find the scope."""

        async def pieces() -> AsyncIterator[tuple[int, bytes]]:
            yield first.offset, first.data
            async for request in rest:
                yield request.offset, request.data

        state = await self._content.write(scope, first.digest, size_bytes=first.size_bytes, pieces=pieces())
        return self._messages.WriteResponse(committed_size_bytes=state.committed_bytes, complete=state.complete)

    async def get_write(self, scope: Scope, request: Any) -> Any:
        """Answers GetWrite."""
        state = await self._content.write_state(scope, request.digest)
        return self._messages.GetWriteResponse(committed_size_bytes=state.committed_bytes, complete=state.complete)

    async def batch_get(self, scope: Scope, request: Any) -> Any:
        """Answers BatchGet."""
        blobs = await self._content.read_batch(scope, request.digests)
        data = [self._messages.BlobData(digest=digest, data=content) for digest, content in blobs]
        return self._messages.BatchGetResponse(blobs=data)

    async def read(self, scope: Scope, request: Any) -> AsyncIterator[Any]:
        """Answers Read."""
        pieces = self._content.read(scope, request.digest, offset=request.offset, limit=request.limit)
        async for offset, data, size_bytes in pieces:
            yield self._messages.ReadResponse(offset=offset, data=data, size_bytes=size_bytes)
