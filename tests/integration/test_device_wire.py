"""Devices over the wire: enrolment, the long poll, the signed repository and blobs by range, with real TLS."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import grpc
import grpc.aio
import pytest
from controller_world import installation, signing_request
from google.protobuf.duration_pb2 import Duration
from lodeworks.agent.device.v1 import device_pb2 as agent_pb2
from lodeworks.agent.device.v1 import device_pb2_grpc as agent_grpc
from lodeworks.agent.device.v1 import enrollment_pb2, enrollment_pb2_grpc
from lodeworks.api.algorithm.v1 import algorithm_pb2, algorithm_pb2_grpc
from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc
from lodeworks.api.device.v1 import device_pb2, device_pb2_grpc
from lodeworks.api.executor.v1 import executor_pb2, executor_pb2_grpc
from lodeworks.api.model.v1 import model_pb2, model_pb2_grpc
from lodeworks.channel.dial import ClientCertificate
from lodeworks_formats.manifest import sha256_hex
from made_package import packed_package

CAPABILITIES = {"arch": "x86_64", "runtimes": {"onnxruntime": "1.31.1"}}


@pytest.fixture
async def world(tmp_path):
    async with installation(tmp_path / "state") as opened:
        yield opened


async def enrolled(world, name="gate-1"):
    """Adds and enrols a device; returns its id and its channel."""
    async with world.person() as channel:
        added = await device_pb2_grpc.DeviceServiceStub(channel).AddDevice(
            device_pb2.AddDeviceRequest(project="default", name=name)
        )
        key, csr = signing_request()
        request = enrollment_pb2.EnrollRequest(token=added.token, csr_pem=csr, hostname="box")
        answer = await enrollment_pb2_grpc.EnrollmentServiceStub(channel).Enroll(request)
    assert json.loads(answer.trusted_root)["signed"]["_type"] == "root"
    return answer.device_id, world.agent(ClientCertificate(answer.certificate_pem, key))


async def released(world, folder: Path, name="gates"):
    """Uploads a package and registers it as a signed release; returns the release and the package's files."""
    data, files = packed_package(folder)
    digest = sha256(data).hexdigest()
    scope = content_pb2.ProjectScope(project="default")
    async with world.person() as channel:
        blob = content_pb2.BlobData(digest=digest, data=data)
        await content_pb2_grpc.ContentServiceStub(channel).BatchPut(
            content_pb2.BatchPutRequest(scope=scope, blobs=[blob])
        )
        answer = await algorithm_pb2_grpc.AlgorithmServiceStub(channel).AddRelease(
            algorithm_pb2.AddReleaseRequest(project="default", name=name, package_digests=[digest])
        )
    return answer.release, files


def report(seq, *, observed=0, wait_s=5, **state):
    return agent_pb2.SyncRequest(
        observed_generation=observed,
        boot_id="b1",
        seq=seq,
        reported_state=json.dumps(state).encode() if state else b"",
        wait=Duration(seconds=wait_s),
        version="0.1.0",
    )


async def test_a_device_hears_of_a_deployment_at_once_and_reads_what_it_names(world, tmp_path):
    release, files = await released(world, tmp_path / "package")
    device_id, channel = await enrolled(world)
    async with channel, world.person() as people:
        agent, administration = agent_grpc.DeviceServiceStub(channel), device_pb2_grpc.DeviceServiceStub(people)
        first = await agent.Sync(report(1, wait_s=1, capabilities=CAPABILITIES))
        assert first.desired_state == b""
        waiting = asyncio.ensure_future(agent.Sync(report(2, wait_s=30)))
        deployed = await administration.DeployAlgorithm(
            device_pb2.DeployAlgorithmRequest(project="default", devices=["gate-1"], algorithm="gates")
        )
        heard = await asyncio.wait_for(waiting, 10)
        document = json.loads(heard.desired_state)
        assert (document["device_id"], document["generation"]) == (device_id, deployed.devices[0].generation)
        assert len(heard.signature) == 64
        wanted = document["algorithms"][0]
        target = json.loads((await agent.GetTarget(agent_pb2.GetTargetRequest(path=wanted["release_path"]))).data)
        assert target["packages"][0]["package_id"] == wanted["package_id"] == release.packages[0].id
        assert (await agent.GetMetadata(agent_pb2.GetMetadataRequest(name="timestamp.json"))).data
        name, content = next(iter(files.items()))
        request = agent_pb2.ReadBlobRequest(digest=sha256_hex(content), offset=3)
        pieces = [piece async for piece in agent.ReadBlob(request)]
        assert b"".join(piece.data for piece in pieces) == content[3:], name
        assert pieces[0].size_bytes == len(content)


async def test_people_see_what_the_device_tells_and_wait_for_news(world, tmp_path):
    await released(world, tmp_path / "package")
    _, channel = await enrolled(world)
    async with channel, world.person() as people:
        agent, administration = agent_grpc.DeviceServiceStub(channel), device_pb2_grpc.DeviceServiceStub(people)
        await agent.Sync(report(1, wait_s=1, capabilities=CAPABILITIES))
        deploy = device_pb2.DeployAlgorithmRequest(project="default", devices=["gate-1"], algorithm="gates")
        seen = (await administration.DeployAlgorithm(deploy)).devices[0]
        looking = asyncio.ensure_future(
            administration.GetDevice(
                device_pb2.GetDeviceRequest(
                    project="default", device="gate-1", after_revision=seen.revision, wait=Duration(seconds=20)
                )
            )
        )
        told = {
            "name": "gates",
            "phase": "COMMITTED",
            "active": {"package_id": seen.desired[0].package_id},
            "since_time": "2026-03-01T00:00:00Z",
            "attempts": 1,
            "latency_ms": 3.5,
        }
        await agent.Sync(
            report(2, observed=1, wait_s=1, algorithms=[told], capabilities=CAPABILITIES, http_address="127.0.0.1:1")
        )
        device = (await asyncio.wait_for(looking, 10)).device
        assert (device.reported[0].phase, device.reported[0].latency_ms) == ("COMMITTED", 3.5)
        assert device.reported[0].active_package_id == device.desired[0].package_id
        assert (device.observed_generation, device.http_address) == (1, "127.0.0.1:1")
        assert device.certificate_end_time.seconds > device.last_seen_time.seconds


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code()


async def test_refusals_arrive(world, tmp_path):
    await released(world, tmp_path / "package")
    _, channel = await enrolled(world)
    async with channel, world.person() as people:
        agent, administration = agent_grpc.DeviceServiceStub(channel), device_pb2_grpc.DeviceServiceStub(people)
        models, executors = model_pb2_grpc.ModelServiceStub(people), executor_pb2_grpc.ExecutorServiceStub(people)
        nothing = agent_pb2.ReadBlobRequest(digest="ab" * 32)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            [piece async for piece in agent.ReadBlob(nothing)]
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert await refused(agent.GetTarget(agent_pb2.GetTargetRequest(path="../../state.db"))) is (
            grpc.StatusCode.NOT_FOUND
        )
        broken = agent_pb2.SyncRequest(boot_id="b", seq=1, reported_state=b"{")
        assert await refused(agent.Sync(broken)) is grpc.StatusCode.INVALID_ARGUMENT
        wish = device_pb2.DeployAlgorithmRequest(project="default", devices=["gate-1"], algorithm="gates")
        assert await refused(administration.DeployAlgorithm(wish)) is grpc.StatusCode.FAILED_PRECONDITION
        wish.devices[:] = ["gate-7"]
        assert await refused(administration.DeployAlgorithm(wish)) is grpc.StatusCode.NOT_FOUND
        train = model_pb2.TrainModelRequest(project="default", train="a", val="b")
        assert await refused(models.TrainModel(train)) is grpc.StatusCode.NOT_FOUND
        assert await refused(models.GetModel(model_pb2.GetModelRequest(project="nowhere", model="x"))) is (
            grpc.StatusCode.NOT_FOUND
        )
        listed = await executors.ListExecutors(executor_pb2.ListExecutorsRequest())
        assert [one.name for one in listed.executors] == ["detector", "infer", "mine"]
        assert "lode worker add" in listed.executors[0].unavailable_reason
        await administration.RevokeDevice(device_pb2.RevokeDeviceRequest(project="default", device="gate-1"))
        assert await refused(agent.Sync(report(1))) is grpc.StatusCode.PERMISSION_DENIED
