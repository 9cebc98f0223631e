"""Content over the wire: both ways, in pieces, interrupted, and only within one's scope."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from front_door import FrontDoor, open_front_door
from lodeworks.agent.worker.v1 import content_pb2 as lease_pb2
from lodeworks.agent.worker.v1 import content_pb2_grpc as lease_pb2_grpc
from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc
from lodeworks.channel.content_wire import ContentWire, Piece
from lodeworks.channel.dial import ClientCertificate
from lodeworks.channel.download import download
from lodeworks.channel.refusal import refusal_of
from lodeworks.channel.streams import Streams
from lodeworks.channel.upload import blob_of_bytes, blob_of_file, upload
from lodeworks_controller.domain.identity import InstallationRole, ProjectRole
from lodeworks_controller.domain.project import Member
from lodeworks_controller.domain.task.lease import LeaseTerms, granted
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.project_service import ProjectService
from lodeworks_worker.blob_transfer import GrpcBlobTransfer
from lodeworks_worker.control_plane import Scope as WorkerScope
from lodeworks_worker.local_store import LocalStore, Located

LARGE = os.urandom(1 << 20) * 3 + b"end"
LARGE_DIGEST = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with open_front_door(tmp_path / "controller") as opened:
        yield opened


@pytest.fixture
async def project_id(door: FrontDoor) -> str:
    made = await ProjectService(door.store, ids=door.ids).create(door.administrator, "cells")
    return made.project.id


@pytest.fixture
async def wire(door: FrontDoor, project_id: str) -> AsyncIterator[ContentWire]:
    async with door.dial_people() as channel:
        yield people_wire(channel, "cells")


def unfinished_bytes(folder: Path) -> int:
    """How much of the one unfinished write has arrived."""
    return sum(path.stat().st_size for path in (folder / "controller/blobs/writes").iterdir())


def people_wire(channel: grpc.aio.Channel, project: str) -> ContentWire:
    stub = content_pb2_grpc.ContentServiceStub(channel)
    return ContentWire(stub, content_pb2, content_pb2.ProjectScope(project=project))


def lease_wire(channel: grpc.aio.Channel, task_id: str, lease_epoch: int) -> ContentWire:
    stub = lease_pb2_grpc.ContentServiceStub(channel)
    return ContentWire(stub, lease_pb2, lease_pb2.LeaseScope(task_id=task_id, lease_epoch=lease_epoch))


async def reason(call: object) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]
    return refusal_of(caught.value).reason


async def read(wire: ContentWire, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
    return b"".join([piece.data async for piece in wire.read(digest, offset=offset, limit=limit)])


async def make_user(door: FrontDoor, name: str) -> tuple[str, str]:
    user, token = await door.identity.create_user(door.administrator, name, role=InstallationRole.USER, request_id=name)
    return user.id, token


async def lease(door: FrontDoor, project_id: str, worker_id: str) -> Task:
    """Gives a worker a task of a project, as the engine does."""
    now = door.clock()
    queued = Task(
        id=door.ids(),
        kind="train",
        project_id=project_id,
        title="a training",
        state=TaskState.QUEUED,
        created_at=now,
        updated_at=now,
        spec={},
    )
    async with door.store.transaction() as tx:
        await tx.tasks.insert(queued, depends_on=())
        queued = await tx.tasks.get(queued.id)
        assert await tx.tasks.swap(queued, granted(queued, worker_id=worker_id, at=now, terms=LeaseTerms()))
        return await tx.tasks.get(queued.id)


async def test_small_and_large_go_up_and_come_down(wire: ContentWire, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    blobs = [blob_of_bytes(f"picture {number}".encode()) for number in range(700)] + [blob_of_file(path)]

    sent_bytes = await upload(wire, blobs)

    assert sent_bytes == sum(blob.size_bytes for blob in blobs)
    assert await upload(wire, blobs) == 0
    await download(wire, LARGE_DIGEST, tmp_path / "back", size_bytes=len(LARGE))
    assert (tmp_path / "back").read_bytes() == LARGE
    assert await read(wire, blobs[7].digest) == b"picture 7"


class Counting:
    """Reads through another, counts the bytes that came, and says when half of a blob is there."""

    def __init__(self, wire: ContentWire) -> None:
        self._wire = wire
        self.came_bytes = 0
        self.half = asyncio.Event()

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        async for piece in self._wire.read(digest, offset=offset, limit=limit):
            self.came_bytes += len(piece.data)
            if self.came_bytes * 2 >= piece.size_bytes:
                self.half.set()
            yield piece


async def test_a_download_in_four_streams_that_ends_at_half_goes_on(wire: ContentWire, tmp_path: Path) -> None:
    large = os.urandom(1 << 20) * 128
    blob = blob_of_bytes(large)
    await upload(wire, [blob])
    target, first, second = tmp_path / "back", Counting(wire), Counting(wire)
    streams = Streams(4, range_bytes=2 << 20)

    fetching = asyncio.create_task(download(first, blob.digest, target, size_bytes=len(large), streams=streams))
    await first.half.wait()
    fetching.cancel()
    await asyncio.wait([fetching])
    await download(second, blob.digest, target, size_bytes=len(large), streams=streams)

    assert target.read_bytes() == large
    assert sorted(os.listdir(tmp_path)) == ["back", "controller"]  # noqa: PTH208
    again_bytes = first.came_bytes + second.came_bytes - len(large)
    assert 0 <= again_bytes < 0.02 * len(large)


async def test_ranges_and_batches_of_reads(door: FrontDoor, wire: ContentWire) -> None:
    small = [blob_of_bytes(bytes([number]) * 300_000) for number in range(5)]
    await upload(wire, [*small, blob_of_bytes(LARGE)])

    assert await read(wire, LARGE_DIGEST, offset=1_000_000, limit=700_000) == LARGE[1_000_000:1_700_000]
    async with door.dial_people() as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        scope = content_pb2.ProjectScope(project="cells")
        request = content_pb2.BatchGetRequest(scope=scope, digests=[blob.digest for blob in small])
        batch = await stub.BatchGet(request)
        assert [blob.digest for blob in batch.blobs] == [blob.digest for blob in small[:3]]
        assert all(hashlib.sha256(blob.data).hexdigest() == blob.digest for blob in batch.blobs)


async def test_write_goes_on_where_the_connection_broke(door: FrontDoor, wire: ContentWire, tmp_path: Path) -> None:
    async def some() -> AsyncIterator[bytes]:
        yield LARGE[: 1 << 20]
        yield LARGE[1 << 20 : 2 << 20]
        await asyncio.sleep(60)  # cancelled below

    async with door.dial_people() as channel:
        broken = people_wire(channel, "cells")
        writing = asyncio.create_task(broken.write(LARGE_DIGEST, size_bytes=len(LARGE), offset=0, chunks=some()))
        async with asyncio.timeout(20):
            while unfinished_bytes(tmp_path) < 2 << 20:  # noqa: ASYNC110 - the file tells, no event does
                await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    state = await wire.get_write(LARGE_DIGEST)
    assert state.committed_bytes == 2 << 20
    assert not state.complete
    await upload(wire, [blob_of_bytes(LARGE)])
    assert await read(wire, LARGE_DIGEST) == LARGE
    assert (await wire.get_write(LARGE_DIGEST)).complete


async def test_gap_is_refused_with_the_place_to_go_on(wire: ContentWire) -> None:
    async def late() -> AsyncIterator[bytes]:
        yield LARGE[100:200]

    with pytest.raises(grpc.RpcError) as caught:
        await wire.write(LARGE_DIGEST, size_bytes=len(LARGE), offset=100, chunks=late())

    refusal = refusal_of(caught.value)
    assert refusal.code is grpc.StatusCode.OUT_OF_RANGE
    assert refusal.reason == "WRITE_GAP"
    assert refusal.metadata["committed_size"] == "0"


async def test_wrong_bytes_are_refused(wire: ContentWire) -> None:
    async def reversed_bytes() -> AsyncIterator[bytes]:
        yield LARGE[::-1][: 1 << 20]
        yield LARGE[::-1][1 << 20 : 2 << 20]
        yield LARGE[::-1][2 << 20 :]

    assert await reason(wire.batch_put([("0" * 64, b"a")])) == "DIGEST_MISMATCH"
    assert await reason(wire.batch_put([("xyz", b"a")])) == "DIGEST_INVALID"
    writing = wire.write(LARGE_DIGEST, size_bytes=len(LARGE), offset=0, chunks=reversed_bytes())
    assert await reason(writing) == "DIGEST_MISMATCH"
    assert await wire.find_missing([LARGE_DIGEST]) == {LARGE_DIGEST}


async def test_digest_is_no_key_to_another_project(door: FrontDoor, wire: ContentWire) -> None:
    await upload(wire, [blob_of_bytes(b"secret")])
    digest = hashlib.sha256(b"secret").hexdigest()
    await ProjectService(door.store, ids=door.ids).create(door.administrator, "other")
    async with door.dial_people() as channel:
        other = people_wire(channel, "other")

        assert await other.find_missing([digest]) == {digest}
        assert await reason(read(other, digest)) == "BLOB_NOT_FOUND"
        assert await upload(other, [blob_of_bytes(b"secret")]) == len(b"secret")
        assert await read(other, digest) == b"secret"


async def test_roles(door: FrontDoor, wire: ContentWire, project_id: str) -> None:
    await upload(wire, [blob_of_bytes(b"a")])
    digest = hashlib.sha256(b"a").hexdigest()
    user_id, token = await make_user(door, "ada")
    async with door.dial_people(token=token) as channel:
        theirs = people_wire(channel, "cells")
        assert await reason(read(theirs, digest)) == "PROJECT_NOT_FOUND"
        assert await reason(people_wire(channel, "nothing").find_missing([digest])) == "PROJECT_NOT_FOUND"
        async with door.store.transaction() as tx:
            await tx.projects.put_member(Member(project_id, user_id, ProjectRole.VIEWER, "ada"))
        assert await read(theirs, digest) == b"a"
        assert await reason(theirs.batch_put([(digest, b"a")])) == "ROLE_TOO_LOW"
        async with door.store.transaction() as tx:
            await tx.projects.put_member(Member(project_id, user_id, ProjectRole.EDITOR, "ada"))
        await theirs.batch_put([(digest, b"a")])


async def test_lease_reads_its_project_and_writes_its_task(door: FrontDoor, wire: ContentWire, project_id: str) -> None:
    worker_id, certificate = await door.add_worker()
    await upload(wire, [blob_of_bytes(b"picture")])
    picture = hashlib.sha256(b"picture").hexdigest()
    task = await lease(door, project_id, worker_id)
    async with door.dial_agents(certificate) as channel:
        mine = lease_wire(channel, task.id, task.lease.epoch)

        assert await read(mine, picture) == b"picture"
        await upload(mine, [blob_of_bytes(LARGE)])
        assert await read(mine, LARGE_DIGEST) == LARGE
    async with door.store.snapshot() as tx:
        assert await tx.blobs.referenced(f"task:{task.id}", [LARGE_DIGEST, picture]) == {LARGE_DIGEST}
    assert await wire.find_missing([LARGE_DIGEST]) == {LARGE_DIGEST}


async def test_a_worker_beside_the_store_reads_it_and_writes_nothing(
    door: FrontDoor, wire: ContentWire, project_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_id, certificate = await door.add_worker()
    small, large = blob_of_bytes(b"picture"), blob_of_bytes(LARGE)
    await upload(wire, [small, large])
    task = await lease(door, project_id, worker_id)
    await ProjectService(door.store, ids=door.ids).create(door.administrator, "other")
    secret = blob_of_bytes(b"of another project")
    async with door.dial_people() as channel:
        await upload(people_wire(channel, "other"), [secret])
    wanted = {small.digest: small.size_bytes, large.digest: large.size_bytes}
    root = tmp_path / "controller/blobs"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    scope = WorkerScope(task.id, task.lease.epoch)
    async with door.dial_agents(certificate) as channel:
        for store in (root, tmp_path, tmp_path / "missing"):  # the store's folder, and two that are not
            folder = tmp_path / f"into-{store.name}"
            folder.mkdir()
            transfer = GrpcBlobTransfer(channel, store=store)
            with monkeypatch.context() as patch:
                if store == root:
                    patch.setattr(transfer, "_fetch_batch", None)  # whoever asks the network fails
                    patch.setattr(transfer, "_fetch_blob", None)
                await transfer.fetch(scope, wanted, folder=folder)
            assert (folder / large.digest).read_bytes() == LARGE
            assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)
        stub = lease_pb2_grpc.ContentServiceStub(channel)
        lease_scope = lease_pb2.LeaseScope(task_id=task.id, lease_epoch=task.lease.epoch)
        nonce = (root / "nonce").read_text()
        digests = [small.digest, secret.digest]
        told = await stub.Locate(lease_pb2.LocateRequest(scope=lease_scope, digests=digests, nonce=nonce))
        assert [one.digest for one in told.blobs] == [small.digest]
        assert await reason(stub.Locate(lease_pb2.LocateRequest(scope=lease_scope, nonce="x"))) == "STORE_UNPROVED"
        assert await reason(stub.Locate(lease_pb2.LocateRequest(scope=lease_scope))) == "STORE_UNPROVED"
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


async def test_what_is_damaged_in_the_store_s_folder_is_not_taken(tmp_path: Path) -> None:
    good, bad = blob_of_bytes(b"good"), blob_of_bytes(b"what it should be")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/pack").write_bytes(b"..goodsomething else....")
    (tmp_path / "outside").write_bytes(b"good")
    located = [Located(good.digest, "pack", 2, 4), Located(bad.digest, "pack", 6, bad.size_bytes)]
    (tmp_path / "into").mkdir()

    assert LocalStore(tmp_path / "store").copy(located, tmp_path / "into") == {good.digest}
    assert LocalStore(tmp_path / "store").copy([Located(good.digest, "../outside", 0, 4)], tmp_path / "into") == set()
    assert [path.name for path in (tmp_path / "into").iterdir()] == [good.digest]


async def test_lease_of_another_counts_for_nothing(door: FrontDoor, project_id: str) -> None:
    worker_id, certificate = await door.add_worker("one")
    _, thief = await door.add_worker("two")
    task = await lease(door, project_id, worker_id)

    async def answer(shown: ClientCertificate, *, epoch: int) -> str:
        async with door.dial_agents(shown) as channel:
            return await reason(lease_wire(channel, task.id, epoch).batch_put([(LARGE_DIGEST, b"")]))

    assert await answer(certificate, epoch=task.lease.epoch) == "DIGEST_MISMATCH"
    assert await answer(certificate, epoch=task.lease.epoch - 1) == "LEASE_LOST"
    assert await answer(thief, epoch=task.lease.epoch) == "LEASE_LOST"


async def test_full_disk_is_said_and_leaves_nothing(
    door: FrontDoor, wire: ContentWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.blobs, "_free", lambda path: 10 << 20)

    with pytest.raises(grpc.RpcError) as caught:
        await upload(wire, [blob_of_bytes(b"a"), blob_of_bytes(LARGE)])

    refusal = refusal_of(caught.value)
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == "DISK_FULL"
    monkeypatch.undo()
    assert await wire.find_missing([LARGE_DIGEST]) == {LARGE_DIGEST}
    assert (await wire.get_write(LARGE_DIGEST)).committed_bytes == 0


async def test_expired_token_ends_access(door: FrontDoor, wire: ContentWire) -> None:
    _, secret = await door.identity.create_token(
        door.administrator, "short", lifetime=timedelta(minutes=1), request_id="short"
    )
    async with door.dial_people(token=secret) as channel:
        theirs = people_wire(channel, "cells")
        assert await theirs.find_missing([LARGE_DIGEST]) == {LARGE_DIGEST}
        door.clock.now += timedelta(minutes=2)
        assert await reason(theirs.find_missing([LARGE_DIGEST])) == "TOKEN_INVALID"


async def test_fault_is_told_to_nobody(
    door: FrontDoor, wire: ContentWire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(door.content, "find_missing", fail)
    with pytest.raises(grpc.RpcError) as caught:
        await wire.find_missing([LARGE_DIGEST])

    refusal = refusal_of(caught.value)
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "secret of the house" not in refusal.message
    assert "secret of the house" in caplog.text
