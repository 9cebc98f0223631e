"""Content between this worker and its controller, in the scope of a lease."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import grpc.aio
from lodeworks.agent.worker.v1 import content_pb2, content_pb2_grpc
from lodeworks.channel.content_wire import ContentWire
from lodeworks.channel.download import download
from lodeworks.channel.errors import ChannelError, DigestMismatchError
from lodeworks.channel.streams import STREAMS, Streams
from lodeworks.channel.upload import LocalBlob, upload

from lodeworks_worker.control_plane import LocalFile, Scope
from lodeworks_worker.errors import BlobError, RefusedError, UnreachableError, WorkerError
from lodeworks_worker.local_store import LocalStore, Located
from lodeworks_worker.putting_down import in_thread
from lodeworks_worker.wire import answered, worker_error

_log = logging.getLogger(__name__)

_BATCH_DIGESTS = 200
_LOCATE_AT_ONCE = 1_000
_SMALL_BYTES = 256 << 10
_AT_ONCE = 4
_CALL_TIMEOUT_S = 60.0


class GrpcBlobTransfer:
    """Blobs over a channel: small ones in batches, large ones by range and resumed.

    Args:
        channel: Dials the port of the agents.
        store: The controller's folder of content, where this machine sees it: what lies there is not sent.
        streams: Ranges that one fetch reads at a time, of one large blob or of several together.
    """

    def __init__(self, channel: grpc.aio.Channel, *, store: Path | None = None, streams: int = STREAMS) -> None:
        self._stub = content_pb2_grpc.ContentServiceStub(channel)
        self._store = None if store is None else LocalStore(store)
        self._streams = streams

    async def fetch(self, scope: Scope, wanted: Mapping[str, int], *, folder: Path) -> None:
        """Brings blobs into a folder. A size of 0 is unknown: such blobs are asked for with the small ones first."""
        if self._store is not None:
            there = await self._fetch_here(scope, list(wanted), folder=folder)
            wanted = {digest: size for digest, size in wanted.items() if digest not in there}
        small = [digest for digest, size in wanted.items() if size <= _SMALL_BYTES]
        large = {digest: size for digest, size in wanted.items() if size > _SMALL_BYTES}
        batches = [small[start : start + _BATCH_DIGESTS] for start in range(0, len(small), _BATCH_DIGESTS)]
        turn = asyncio.Semaphore(_AT_ONCE)
        streams = Streams(max(1, self._streams // max(1, min(_AT_ONCE, len(large)))))

        async def one_batch(batch: list[str]) -> None:
            async with turn:
                await self._fetch_batch(scope, batch, folder=folder)

        async def one_blob(digest: str, size_bytes: int) -> None:
            async with turn:
                await self._fetch_blob(scope, digest, size_bytes=size_bytes, folder=folder, streams=streams)

        work = [one_batch(batch) for batch in batches] + [one_blob(*item) for item in large.items()]
        results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        """Brings files to the controller; what it has is not sent."""
        blobs = [LocalBlob(one.digest, one.size_bytes, one.path, one.start) for one in files]
        try:
            await upload(self._wire(scope), blobs)
        except grpc.RpcError as error:
            raise worker_error(error) from error
        except ChannelError as error:
            raise _channel_error(error) from error

    async def _fetch_here(self, scope: Scope, digests: Sequence[str], *, folder: Path) -> set[str]:
        """Copies from the store's folder what can be had there; returns which."""
        assert self._store is not None
        nonce = await in_thread(self._store.nonce)
        there = set[str]()
        if not nonce:
            return there
        for start in range(0, len(digests), _LOCATE_AT_ONCE):
            asked = digests[start : start + _LOCATE_AT_ONCE]
            request = content_pb2.LocateRequest(scope=_scope(scope), digests=asked, nonce=nonce)
            try:
                told = await answered(self._stub.Locate(request, timeout=_CALL_TIMEOUT_S))
            except RefusedError as error:  # another store's folder, or a controller that knows none
                _log.info("content is fetched over the network: %s", error)
                return there
            located = [Located(one.digest, one.path, one.offset, one.size_bytes) for one in told.blobs]
            there |= await in_thread(self._store.copy, located, folder)
        return there

    async def _fetch_batch(self, scope: Scope, digests: Sequence[str], *, folder: Path) -> None:
        left = list(digests)
        while left:
            request = content_pb2.BatchGetRequest(scope=_scope(scope), digests=left)
            told = await answered(self._stub.BatchGet(request, timeout=_CALL_TIMEOUT_S))
            if not told.blobs:
                # The next one does not fit into a message: its size was not known.
                await self._fetch_blob(scope, left.pop(0), size_bytes=0, folder=folder)
                continue
            await in_thread(_keep, [(one.digest, one.data) for one in told.blobs], folder)
            arrived = {one.digest for one in told.blobs}
            left = [digest for digest in left if digest not in arrived]

    async def _fetch_blob(
        self, scope: Scope, digest: str, *, size_bytes: int, folder: Path, streams: Streams | None = None
    ) -> None:
        wire = self._wire(scope)
        try:
            if not size_bytes:
                async for piece in wire.read(digest, offset=0, limit=1):
                    size_bytes = piece.size_bytes
            await download(wire, digest, folder / digest, size_bytes=size_bytes, streams=streams)
        except grpc.RpcError as error:
            raise worker_error(error) from error
        except ChannelError as error:
            raise _channel_error(error) from error

    def _wire(self, scope: Scope) -> ContentWire:
        return ContentWire(self._stub, content_pb2, _scope(scope))


def _scope(scope: Scope) -> content_pb2.LeaseScope:
    return content_pb2.LeaseScope(task_id=scope.task_id, lease_epoch=scope.lease_epoch)


def _keep(blobs: Sequence[tuple[str, bytes]], folder: Path) -> None:
    for digest, data in blobs:
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobError(f"what came for blob {digest} is something else")
        (folder / digest).write_bytes(data)


def _channel_error(error: ChannelError) -> WorkerError:
    return BlobError(str(error)) if isinstance(error, DigestMismatchError) else UnreachableError(str(error))
