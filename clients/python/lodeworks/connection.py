"""The connection of the client: calls, errors, retries and blobs; the asyncio one and its blocking twin.

The resources know nothing of grpc beside the messages: everything goes through `AsyncConnection`, or, in the
generated blocking client, through `Connection`, which runs an `AsyncConnection` in a thread of its own.
"""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from lodeworks.channel.backoff import Backoff
from lodeworks.channel.content_wire import ContentWire
from lodeworks.channel.diagnosis import explain
from lodeworks.channel.dial import dial
from lodeworks.channel.download import download
from lodeworks.channel.errors import ChannelError
from lodeworks.channel.patience import Patience
from lodeworks.channel.pinning import fetch_authority
from lodeworks.channel.refusal import refusal_of
from lodeworks.channel.streams import Streams
from lodeworks.channel.upload import LocalBlob, blob_of_file, upload
from lodeworks.errors import LoginError, UnreachableError, error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from lodeworks.profile import Profile

T = TypeVar("T")
S = TypeVar("S")

FIRST_PATIENCE_S = 2.0
"""How long the first call waits for a server that does not answer."""

PATIENCE_S = 60.0
"""How long later calls do: a server that was there is restarting."""


def new_request_id() -> str:
    """Returns an id for one intent of the caller, so that a repeat of the call is harmless."""
    return uuid.uuid4().hex


class AsyncConnection:
    """A connection to one server; opens at the first call.

    Every rpc of the API is safe to repeat, so a call is repeated while the server cannot be reached.

    Args:
        profile: Which server, authority, token and project.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._channel: grpc.aio.Channel | None = None
        self._ca_pem = profile.ca_pem.encode()
        self._stubs: dict[Any, Any] = {}
        self._answered = False

    async def close(self) -> None:
        """Closes the connection; it opens again at the next call."""
        channel, self._channel = self._channel, None
        self._stubs.clear()
        if channel is not None:
            await channel.close()

    async def call(self, stub: Callable[[Any], Any], method: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """Calls a method of a service and returns its response.

        Args:
            stub: The generated stub class.
            method: Name of the rpc.
            request: The message.
            timeout_s: For one try.

        Raises:
            LodeError: The server refused, or cannot be reached.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (PATIENCE_S if self._answered else FIRST_PATIENCE_S)
        backoff = Backoff(random.random, first_s=0.2, longest_s=3.0)
        while True:
            try:
                response = await getattr(await self._stub(stub), method)(request, timeout=timeout_s)
            except grpc.RpcError as error:
                refusal = refusal_of(error)
                pause = backoff.next_s(refusal.retry_after_s)
                passing = refusal.code is grpc.StatusCode.UNAVAILABLE and (
                    not refusal.answered or refusal.retry_after_s is not None
                )
                if passing and loop.time() + pause < deadline:
                    await asyncio.sleep(pause)
                    continue
                cause = await explain(error, target=self.profile.server, ca_pem=self._ca_pem)
                if cause is not None:
                    raise UnreachableError(str(cause), reason=cause.reason) from error
                raise error_of(refusal) from error
            self._answered = True
            return response

    async def upload(
        self, project: str, blobs: list[LocalBlob], *, progress: Callable[[int], None] | None = None
    ) -> int:
        """Sends what the project lacks; returns the bytes that travelled."""
        wire = await self._content(project)
        work = upload(wire, blobs, patience=self._patience(), progress=progress)
        return cast("int", await self._translated(work))

    async def download(
        self,
        project: str,
        digest: str,
        path: Path,
        *,
        size_bytes: int,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Fetches a blob of the project into a file, resuming what is there of it."""
        wire = await self._content(project)
        streams, patience = Streams(self.profile.transfer_streams), self._patience()
        await self._translated(
            download(wire, digest, path, size_bytes=size_bytes, streams=streams, patience=patience, progress=progress)
        )

    async def read_blob(self, project: str, digest: str) -> bytes:
        """Returns the bytes of a blob of the project; for small ones."""
        wire = await self._content(project)
        patience = self._patience()

        async def read() -> bytes:
            while True:
                try:
                    return b"".join([piece.data async for piece in wire.read(digest, offset=0)])
                except grpc.RpcError as error:
                    await patience.bear(error)

        return cast("bytes", await self._translated(read()))

    async def hash_file(self, path: Path) -> LocalBlob:
        """Names a file by its digest, off the loop."""
        return await asyncio.to_thread(blob_of_file, path)

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    def _patience(self) -> Patience:
        """Returns how long a transfer goes on trying: as long as a call does."""
        least_s = PATIENCE_S if self._answered else FIRST_PATIENCE_S
        return Patience(least_s=least_s, backoff=Backoff(random.random, first_s=0.2, longest_s=3.0))

    async def _translated(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except grpc.RpcError as error:
            raise error_of(refusal_of(error)) from error
        except ChannelError as error:
            raise UnreachableError(str(error), reason=error.reason) from error

    async def _content(self, project: str) -> ContentWire:
        from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc  # noqa: PLC0415 - a stub few calls need

        stub = await self._stub(content_pb2_grpc.ContentServiceStub)
        return ContentWire(stub, content_pb2, content_pb2.ProjectScope(project=project))

    async def _stub(self, stub: Callable[[Any], S]) -> S:
        if stub not in self._stubs:
            self._stubs[stub] = stub(await self._open())
        return cast("S", self._stubs[stub])

    async def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            if not self.profile.token:
                raise LoginError("there is no token for this server; log in with `lode login`", reason="NO_TOKEN")
            if not self._ca_pem:
                self._ca_pem = await self._authority()
            self._channel = dial(self.profile.server, ca_pem=self._ca_pem, token=self.profile.token)
        return self._channel

    async def _authority(self) -> bytes:
        pinned = self.profile.ca_fingerprint
        if not pinned:
            raise LoginError(
                "the authority of the server is not known; "
                "set LODE_CA_FINGERPRINT to what `lode-controller init` printed",
                reason="NO_AUTHORITY",
            )
        try:
            return await asyncio.to_thread(fetch_authority, self.profile.server, pinned=pinned)
        except ChannelError as error:
            raise UnreachableError(str(error), reason=error.reason) from error


class Connection:
    """The blocking twin of `AsyncConnection`: the same methods, run in a thread with a loop of its own.

    Args:
        profile: Which server, authority, token and project.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._inner = AsyncConnection(profile)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connection and ends the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(self._inner.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def call(self, stub: Callable[[Any], Any], method: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """Calls a method of a service and returns its response. Raises LodeError."""
        return self._run(self._inner.call(stub, method, request, timeout_s=timeout_s))

    def upload(self, project: str, blobs: list[LocalBlob], *, progress: Callable[[int], None] | None = None) -> int:
        """Sends what the project lacks; returns the bytes that travelled."""
        return self._run(self._inner.upload(project, blobs, progress=progress))

    def download(
        self,
        project: str,
        digest: str,
        path: Path,
        *,
        size_bytes: int,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Fetches a blob of the project into a file, resuming what is there of it."""
        self._run(self._inner.download(project, digest, path, size_bytes=size_bytes, progress=progress))

    def read_blob(self, project: str, digest: str) -> bytes:
        """Returns the bytes of a blob of the project; for small ones."""
        return self._run(self._inner.read_blob(project, digest))

    def hash_file(self, path: Path) -> LocalBlob:
        """Names a file by its digest."""
        return blob_of_file(path)

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self._run(self._inner.sleep(seconds))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="lodeworks", daemon=True)
                self._thread.start()
            loop = self._loop
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
