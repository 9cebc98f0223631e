"""The content calls of one scope, the same for people and workers, and the reading half for devices."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a blob: where they stand in the whole, and how long (bytes) the whole is."""

    offset: int
    data: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Written:
    """How far a write has come."""

    committed_bytes: int
    complete: bool


class BlobReading(Protocol):
    """Reads blobs by range."""

    def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        """Yields the bytes from an offset on; a limit of 0 means to the end. Raises grpc.RpcError."""
        ...


class BlobWriting(Protocol):
    """Writes blobs."""

    async def find_missing(self, digests: Sequence[str]) -> set[str]:
        """Returns those that must be sent. Raises grpc.RpcError."""
        ...

    async def batch_put(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """Stores small blobs, all or none; together at most 3.5 MiB. Raises grpc.RpcError."""
        ...

    async def get_write(self, digest: str) -> Written:
        """Tells how much of an unfinished write is there. Raises grpc.RpcError."""
        ...

    async def write(self, digest: str, *, size_bytes: int, offset: int, chunks: AsyncIterator[bytes]) -> Written:
        """Sends the bytes from an offset on. Raises grpc.RpcError."""
        ...


class ContentWire:
    """BlobReading and BlobWriting over a ContentService.

    The services of people and of workers have the same shape and differ in their scope only.

    Args:
        stub: A ``ContentServiceStub`` of an asyncio channel.
        messages: The ``content_pb2`` module that belongs to it.
        scope: Its ``ProjectScope`` or ``LeaseScope``.
    """

    def __init__(self, stub: Any, messages: Any, scope: Any) -> None:
        self._stub = stub
        self._messages = messages
        self._scope = scope

    async def find_missing(self, digests: Sequence[str]) -> set[str]:
        """Returns those that must be sent. Raises grpc.RpcError."""
        request = self._messages.FindMissingRequest(scope=self._scope, digests=digests)
        return set((await self._stub.FindMissing(request)).digests)

    async def batch_put(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """Stores small blobs, all or none; together at most 3.5 MiB. Raises grpc.RpcError."""
        parts = [self._messages.BlobData(digest=digest, data=data) for digest, data in blobs]
        await self._stub.BatchPut(self._messages.BatchPutRequest(scope=self._scope, blobs=parts))

    async def get_write(self, digest: str) -> Written:
        """Tells how much of an unfinished write is there. Raises grpc.RpcError."""
        response = await self._stub.GetWrite(self._messages.GetWriteRequest(scope=self._scope, digest=digest))
        return Written(response.committed_size_bytes, complete=response.complete)

    async def write(self, digest: str, *, size_bytes: int, offset: int, chunks: AsyncIterator[bytes]) -> Written:
        """Sends the bytes from an offset on. Raises grpc.RpcError."""
        failures = list[Exception]()
        requests = self._requests(digest, size_bytes=size_bytes, offset=offset, chunks=chunks, failures=failures)
        try:
            response = await self._stub.Write(requests)
        finally:
            if failures:
                raise failures[0]
        return Written(response.committed_size_bytes, complete=response.complete)

    async def _requests(
        self, digest: str, *, size_bytes: int, offset: int, chunks: AsyncIterator[bytes], failures: list[Exception]
    ) -> AsyncIterator[Any]:
        position = offset
        request = self._messages.WriteRequest(scope=self._scope, digest=digest, size_bytes=size_bytes, offset=position)
        try:
            async for data in chunks:
                request.offset, request.data = position, data
                yield request
                position += len(data)
                request = self._messages.WriteRequest()
        except Exception as error:  # noqa: BLE001 - grpc.aio would turn it into a CancelledError; write() raises it
            failures.append(error)
            return
        if position == offset:  # an empty blob, or one that is all there
            yield request

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        """Yields the bytes from an offset on; a limit of 0 means to the end. Raises grpc.RpcError."""
        request = self._messages.ReadRequest(scope=self._scope, digest=digest, offset=offset, limit=limit)
        async for response in self._stub.Read(request):
            yield Piece(response.offset, response.data, response.size_bytes)


class DeviceBlobs:
    """BlobReading over a DeviceService.

    Args:
        stub: A ``DeviceServiceStub`` of an asyncio channel.
        messages: The ``device_pb2`` module that belongs to it.
    """

    def __init__(self, stub: Any, messages: Any) -> None:
        self._stub = stub
        self._messages = messages

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        """Yields the bytes from an offset on; a limit of 0 means to the end. Raises grpc.RpcError."""
        request = self._messages.ReadBlobRequest(digest=digest, offset=offset, limit=limit)
        async for response in self._stub.ReadBlob(request):
            yield Piece(response.offset, response.data, response.size_bytes)
