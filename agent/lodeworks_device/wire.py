"""The controller as gRPC: the one place where messages are known."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from lodeworks.agent.device.v1 import device_pb2, device_pb2_grpc
from lodeworks.channel.backoff import Backoff
from lodeworks.channel.content_wire import DeviceBlobs
from lodeworks.channel.diagnosis import explain
from lodeworks.channel.dial import dial
from lodeworks.channel.download import read_resuming
from lodeworks.channel.errors import ChannelError, DigestMismatchError
from lodeworks.channel.patience import Patience
from lodeworks.channel.refusal import refusal_of

from lodeworks_device.control_plane import Answer, Report
from lodeworks_device.desired import Signed
from lodeworks_device.enrolment import Identity
from lodeworks_device.errors import RefusedError, StepError, UnreachableError
from lodeworks_device.reasons import Reason

_T = TypeVar("_T")
_CALL_WITHIN_S = 30.0
_TRIES_PER_TRANSFER = 5


class GrpcControlPlane:
    """ControlPlane over the mutual TLS port. `version` is the agent's."""

    def __init__(self, identity: Identity, *, version: str) -> None:
        self._version = version
        self._identity = identity
        self._channel = self._dialled(identity)

    @property
    def identity(self) -> Identity:
        """With which identity, and to which controllers, it is connected."""
        return self._identity

    async def renew(self, identity: Identity) -> None:
        """Shows another certificate from now on; calls that are open begin anew, and reads of blobs are interrupted."""
        old, self._identity, self._channel = self._channel, identity, self._dialled(identity)
        await old.close()

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def sync(self, report: Report, *, wait_s: float) -> Answer:
        """Hands a report over and waits for a newer desired state."""
        wait = Duration()
        wait.FromTimedelta(timedelta(seconds=wait_s))
        request = device_pb2.SyncRequest(
            observed_generation=report.observed_generation,
            boot_id=report.boot_id,
            seq=report.seq,
            reported_state=report.state,
            wait=wait,
            version=self._version,
        )
        told = await self._call(lambda stub: stub.Sync(request, timeout=wait_s + _CALL_WITHIN_S))
        desired = Signed(told.desired_state, told.signature, told.key_id) if told.desired_state else None
        retry_after_s = told.retry_after.ToTimedelta().total_seconds()
        return Answer(desired, retry_after_s, told.agents_address, tuple(told.addresses))

    async def metadata(self, name: str) -> bytes:
        """Returns a metadata file of the release repository."""
        request = device_pb2.GetMetadataRequest(name=name)
        return bytes((await self._call(lambda stub: stub.GetMetadata(request, timeout=_CALL_WITHIN_S))).data)

    async def target(self, path: str) -> bytes:
        """Returns a target file of the release repository."""
        request = device_pb2.GetTargetRequest(path=path)
        return bytes((await self._call(lambda stub: stub.GetTarget(request, timeout=_CALL_WITHIN_S))).data)

    async def read_blob(self, digest: str, offset: int, size_bytes: int) -> AsyncIterator[bytes]:
        """Yields the bytes of a blob from an offset to its end, over interruptions."""
        channel = self._channel
        blobs = DeviceBlobs(device_pb2_grpc.DeviceServiceStub(channel), device_pb2)
        backoff = Backoff(random.random, first_s=0.2, longest_s=5.0)
        patience = Patience(tries=_TRIES_PER_TRANSFER, backoff=backoff)
        try:
            async for data in read_resuming(blobs, digest, offset=offset, end=size_bytes, patience=patience):
                yield data
        except DigestMismatchError as error:
            raise StepError(Reason.DIGEST_MISMATCH, str(error)) from error
        except ChannelError as error:
            raise UnreachableError(str(error)) from error
        except grpc.RpcError as error:
            raise await self._failure(error) from error
        except asyncio.CancelledError as error:
            if not self._left(channel):
                raise
            raise UnreachableError("the device connected anew") from error

    async def _call(self, call: Callable[[Any], Awaitable[_T]]) -> _T:
        while True:
            channel = self._channel
            try:
                return await call(device_pb2_grpc.DeviceServiceStub(channel))
            except grpc.RpcError as error:
                raise await self._failure(error) from error
            except asyncio.CancelledError:
                if not self._left(channel):
                    raise

    def _left(self, channel: grpc.aio.Channel) -> bool:
        """Says whether a call was cancelled by the end of its channel alone, and not its caller by somebody."""
        task = asyncio.current_task()
        return channel is not self._channel and task is not None and not task.cancelling()

    async def _failure(self, error: grpc.RpcError) -> Exception:
        refusal = refusal_of(error)
        if refusal.answered and not refusal.transient:
            return RefusedError(refusal.message, reason=refusal.reason)
        if refusal.code is grpc.StatusCode.UNIMPLEMENTED:
            return RefusedError(f"{self._identity.agents} is no controller for devices; check the address")
        cause = await explain(
            error,
            target=self._identity.agents,
            ca_pem=self._identity.ca_pem,
            certificate=self._identity.client_certificate,
        )
        return UnreachableError(
            str(cause) if cause else refusal.message or refusal.code.name, retry_after_s=refusal.retry_after_s
        )

    @staticmethod
    def _dialled(identity: Identity) -> grpc.aio.Channel:
        return dial(identity.agents, ca_pem=identity.ca_pem, certificate=identity.client_certificate)
