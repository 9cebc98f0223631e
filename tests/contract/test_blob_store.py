"""What every BlobStore promises."""

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from lodeworks_controller.errors import ConflictError, ExhaustedError, GapError, InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.storage.blobs import unfinished
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.blobs.objects import ObjectBlobStore
from lodeworks_controller.storage.database.unit import SqlStore

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OWNER = "project:a"
LARGE = bytes(range(256)) * 20_000


class Disk:
    """How much room the store believes to have."""

    def __init__(self) -> None:
        self.free = 1 << 40

    def __call__(self, path: Path) -> int:
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture(params=["disk", "objects"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path, disk: Disk) -> AsyncIterator[Callable[[], BlobStore]]:
    """Opens the store as after a restart."""
    numbers = count()

    def ids() -> str:
        return f"{tmp_path.name[-8:]}t{next(numbers)}"

    if request.param == "disk":
        yield lambda: opened(DiskBlobStore(tmp_path / "blobs", ids=ids, free=disk))
        return
    index = await SqlStore.open(tmp_path / "lode.db", clock=lambda: datetime.now(UTC), ids=ids)
    await index.create_schema()
    objects = request.getfixturevalue("bucket")
    yield lambda: opened(ObjectBlobStore(objects, index, folder=tmp_path / "local", ids=ids))
    await index.close()


def opened(store: DiskBlobStore | ObjectBlobStore) -> BlobStore:
    store.open()
    return store


@pytest.fixture
def blobs(reopen: Callable[[], BlobStore]) -> BlobStore:
    return reopen()


@pytest.fixture
def disk_blobs(tmp_path: Path, disk: Disk) -> BlobStore:
    numbers = count()
    return opened(DiskBlobStore(tmp_path / "blobs", ids=lambda: f"t{next(numbers)}", free=disk))


def files(tmp_path: Path) -> set[str]:
    """Everything in the store that is not a folder."""
    return {path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != "nonce"}


async def test_what_was_put_is_there_and_survives(blobs: BlobStore, reopen: Callable[[], BlobStore]) -> None:
    blob = await blobs.put_bytes(CONTENT)

    assert blob.digest == DIGEST
    assert blob.size_bytes == len(CONTENT)
    again = reopen()
    assert await again.read(DIGEST) == CONTENT
    assert await again.find_missing([DIGEST, "0" * 64]) == {"0" * 64}


async def test_ranges(blobs: BlobStore) -> None:
    await blobs.put_bytes(CONTENT)

    assert await blobs.read(DIGEST, offset=10, limit=5) == CONTENT[10:15]
    assert await blobs.read(DIGEST, offset=len(CONTENT) - 3) == CONTENT[-3:]
    assert await blobs.read(DIGEST, offset=len(CONTENT) + 3) == b""


async def test_location_is_a_range_of_a_file(blobs: BlobStore) -> None:
    await blobs.put_bytes(CONTENT)

    location = await blobs.locate(DIGEST)

    with location.path.open("rb") as file:
        file.seek(location.offset)
        assert file.read(location.size_bytes) == CONTENT


@pytest.mark.parametrize("call", ["read", "locate"])
async def test_absent_blob_is_not_found(blobs: BlobStore, call: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await getattr(blobs, call)("0" * 64)

    assert caught.value.reason == "BLOB_NOT_FOUND"


@pytest.mark.parametrize("number", [1, 5, 300])
async def test_batches(blobs: BlobStore, number: int) -> None:
    contents = [f"blob {index % 250}".encode() for index in range(number)]

    stored = await blobs.put_many(contents)

    for blob, data in zip(stored, contents, strict=True):
        assert await blobs.read(blob.digest) == data


async def test_batch_with_a_wrong_digest_keeps_nothing(disk_blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as caught:
        await disk_blobs.put_many([b"a", b"b"], digests=[hashlib.sha256(b"a").hexdigest(), "0" * 64])

    assert caught.value.reason == "DIGEST_MISMATCH"
    assert files(tmp_path) == set()


async def test_full_disk_keeps_nothing(disk_blobs: BlobStore, disk: Disk, tmp_path: Path) -> None:
    disk.free = 100 << 20
    with pytest.raises(ExhaustedError) as caught:
        await disk_blobs.put_many([CONTENT, bytes(60 << 20)])
    assert caught.value.reason == "DISK_FULL"
    with pytest.raises(ExhaustedError):
        async with disk_blobs.begin_write(DIGEST, size_bytes=60 << 20, owner=OWNER):
            pass
    source = tmp_path / "source"
    source.write_bytes(bytes(60 << 20))
    with pytest.raises(ExhaustedError):
        await disk_blobs.put_file(source)

    assert files(tmp_path) == set()
    assert await disk_blobs.written_bytes(DIGEST, owner=OWNER) == 0


async def test_disk_that_fills_up_midway_keeps_nothing(
    disk_blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(unfinished, "sync_file", full)
    async with disk_blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        await writing.append(0, CONTENT)
        with pytest.raises(ExhaustedError):
            await writing.commit()

    assert await disk_blobs.find_missing([DIGEST]) == {DIGEST}


@pytest.mark.parametrize("move", [False, True])
async def test_files(blobs: BlobStore, tmp_path: Path, *, move: bool) -> None:
    path = tmp_path / "source"
    for _ in range(2):  # the second time the content is known
        path.write_bytes(CONTENT)
        blob = await blobs.put_file(path, move=move)

        assert blob.digest == DIGEST
        assert blob.size_bytes == len(CONTENT)
        assert await blobs.read(DIGEST) == CONTENT
        assert path.exists() is not move


async def test_write_goes_on_after_a_restart(blobs: BlobStore, reopen: Callable[[], BlobStore]) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        await writing.append(0, CONTENT[:1000])

    again = reopen()
    assert await again.written_bytes(DIGEST, owner=OWNER) == 1000
    async with again.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        assert writing.committed_bytes == 1000
        await writing.append(500, CONTENT[500:])  # the overlap is skipped
        await writing.commit()
    assert await again.read(DIGEST) == CONTENT
    assert await again.written_bytes(DIGEST, owner=OWNER) == 0


async def test_gap_says_where_to_go_on(blobs: BlobStore) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        await writing.append(0, CONTENT[:1000])
        with pytest.raises(GapError) as caught:
            await writing.append(1001, CONTENT[1001:])

    assert caught.value.committed_bytes == 1000
    assert caught.value.metadata["committed_size"] == "1000"


async def test_more_than_declared_is_refused(blobs: BlobStore) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=10, owner=OWNER) as writing:
        with pytest.raises(InvalidError):
            await writing.append(0, CONTENT)


async def test_wrong_content_is_forgotten(blobs: BlobStore) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        await writing.append(0, CONTENT[::-1])
        with pytest.raises(InvalidError) as caught:
            await writing.commit()

    assert caught.value.reason == "DIGEST_MISMATCH"
    assert await blobs.find_missing([DIGEST]) == {DIGEST}
    assert await blobs.written_bytes(DIGEST, owner=OWNER) == 0


async def test_short_content_is_not_committed(blobs: BlobStore) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as writing:
        await writing.append(0, CONTENT[:-1])
        with pytest.raises(InvalidError):
            await writing.commit()


async def test_writes_of_two_owners_do_not_touch(blobs: BlobStore) -> None:
    async with (
        blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner="project:evil") as evil,
        blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as good,
    ):
        await evil.append(0, b"garbage")
        await good.append(0, CONTENT)
        await good.commit()

    assert await blobs.read(DIGEST) == CONTENT
    assert await blobs.written_bytes(DIGEST, owner=OWNER) == 0


async def test_newer_write_takes_over(blobs: BlobStore) -> None:
    async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as older:
        await older.append(0, CONTENT[:1000])
        async with blobs.begin_write(DIGEST, size_bytes=len(CONTENT), owner=OWNER) as newer:
            assert newer.committed_bytes == 1000
            with pytest.raises(ConflictError):
                await older.append(1000, CONTENT[1000:])
            await newer.append(1000, CONTENT[1000:])
            await newer.commit()

    assert await blobs.read(DIGEST) == CONTENT


async def test_empty_blob(blobs: BlobStore) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    async with blobs.begin_write(digest, size_bytes=0, owner=OWNER) as writing:
        await writing.commit()

    assert await blobs.read(digest) == b""
    assert (await blobs.put_bytes(b"")).digest == digest


async def test_contents_sizes_and_removal(blobs: BlobStore) -> None:
    small = await blobs.put_many([f"small {number}".encode() for number in range(30)])
    large = await blobs.put_bytes(LARGE)

    listed = {blob async for some in blobs.contents() for blob in some}
    assert listed == {*small, large}
    assert await blobs.sizes([small[0].digest, large.digest, "0" * 64]) == {
        small[0].digest: small[0].size_bytes,
        large.digest: large.size_bytes,
    }
    await blobs.delete([small[0].digest, large.digest, "0" * 64])
    await blobs.compact()

    assert await blobs.find_missing([small[0].digest, small[1].digest, large.digest]) == {small[0].digest, large.digest}
    assert await blobs.read(small[1].digest) == b"small 1"
    with pytest.raises(NotFoundError):
        await blobs.read(large.digest)
    await blobs.put_bytes(LARGE)
    assert await blobs.read(large.digest, offset=1, limit=3) == LARGE[1:4]


async def test_what_is_left_stays_readable_however_often_it_is_compacted(blobs: BlobStore) -> None:
    kept = []
    for number in range(6):
        some = await blobs.put_many([f"batch {number} blob {one}".encode() for one in range(10)])
        await blobs.delete([blob.digest for blob in some[::2]])
        kept += some[1::2]
        await blobs.compact()
    for blob in kept:
        assert hashlib.sha256(await blobs.read(blob.digest)).hexdigest() == blob.digest
        assert (await blobs.locate(blob.digest)).path.stat().st_size == blob.size_bytes
