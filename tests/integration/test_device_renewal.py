"""A device that connects anew, with a fresh certificate or to more controllers, goes on with what it was at."""

import asyncio
from dataclasses import replace

import grpc.aio
import pytest
from lodeworks.agent.device.v1 import device_pb2, device_pb2_grpc
from lodeworks_device.control_plane import Report
from lodeworks_device.enrolment import Identity
from lodeworks_device.errors import UnreachableError
from lodeworks_device.wire import GrpcControlPlane

DIGEST = "ab" * 32


class Slow(device_pb2_grpc.DeviceServiceServicer):
    """Answers nothing before it is told to."""

    def __init__(self):
        self.calls = asyncio.Queue()
        self.free = asyncio.Event()

    async def Sync(self, request, context):  # noqa: N802 - the name of the rpc
        self.calls.put_nowait(request.seq)
        await self.free.wait()
        return device_pb2.SyncResponse(agents_address="here")

    async def ReadBlob(self, request, context):  # noqa: N802 - the name of the rpc
        yield device_pb2.ReadBlobResponse(data=b"ha", offset=0, size_bytes=4)
        await self.free.wait()


@pytest.fixture
async def served(monkeypatch):
    slow, server = Slow(), grpc.aio.server()
    device_pb2_grpc.add_DeviceServiceServicer_to_server(slow, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    dialled = staticmethod(lambda _identity: grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    monkeypatch.setattr(GrpcControlPlane, "_dialled", dialled)
    control = GrpcControlPlane(Identity("d", "gate", "s", "a", b"", b"", b"", b""), version="0")
    yield slow, control
    slow.free.set()
    await control.close()
    await server.stop(0)


async def test_an_open_poll_begins_anew_on_the_new_connection(served):
    slow, control = served
    polling = asyncio.ensure_future(control.sync(Report(0, "boot", 1, b""), wait_s=60))
    await asyncio.wait_for(slow.calls.get(), 30)
    await control.renew(replace(control.identity, name="renewed"))
    await asyncio.wait_for(slow.calls.get(), 30)
    slow.free.set()
    assert (await polling).agents_address == "here"


async def test_a_fetch_is_interrupted_and_may_be_taken_up_again(served):
    _, control = served
    pieces = control.read_blob(DIGEST, 0, 4)
    assert await anext(pieces) == b"ha"
    reading = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    await control.renew(replace(control.identity, name="renewed"))
    with pytest.raises(UnreachableError, match="connected anew"):
        await reading


async def test_whoever_is_cancelled_stays_cancelled(served):
    slow, control = served
    polling = asyncio.ensure_future(control.sync(Report(0, "boot", 1, b""), wait_s=60))
    await asyncio.wait_for(slow.calls.get(), 30)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert slow.calls.empty()
