"""Uploads: only what is missing, batches under their limit, large blobs from where they broke off."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import grpc
import grpc.aio
import pytest
from lodeworks.channel.backoff import Backoff
from lodeworks.channel.content_wire import Written
from lodeworks.channel.errors import DigestMismatchError, TransferBrokenError
from lodeworks.channel.patience import Patience
from lodeworks.channel.upload import CHUNK_BYTES, SMALL_BYTES, blob_of_bytes, blob_of_file, upload

LARGE = bytes(range(256)) * 10_000  # 2.5 MB


def broken(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Socket closed")


class Sink:
    """A receiver that breaks off after so many chunks, once per entry."""

    def __init__(self, *, breaks: list[int] | None = None) -> None:
        self.breaks = breaks or []
        self.stored: dict[str, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.batches: list[int] = []
        self.offsets: list[int] = []

    async def find_missing(self, digests: Sequence[str]) -> set[str]:
        return set(digests) - set(self.stored)

    async def batch_put(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        blobs = list(blobs)
        self.batches.append(sum(len(data) for _, data in blobs))
        self.stored.update(blobs)

    async def get_write(self, digest: str) -> Written:
        return Written(len(self.partial.get(digest, b"")), complete=digest in self.stored)

    async def write(self, digest: str, *, size_bytes: int, offset: int, chunks: AsyncIterator[bytes]) -> Written:
        self.offsets.append(offset)
        pieces = self.breaks.pop(0) if self.breaks else None
        async for data in chunks:
            if pieces == 0:
                raise broken()
            pieces = None if pieces is None else pieces - 1
            self.partial[digest] = self.partial.get(digest, b"") + data
        if len(self.partial[digest]) == size_bytes:
            self.stored[digest] = self.partial.pop(digest)
            return Written(size_bytes, complete=True)
        return Written(len(self.partial[digest]), complete=False)


def patience(*, tries: int = 8) -> Patience:
    async def sleep(seconds: float) -> None:
        pass

    return Patience(tries=tries, sleep=sleep, backoff=Backoff(lambda: 1.0))


async def test_sends_only_what_is_missing() -> None:
    sink = Sink()
    there, absent = blob_of_bytes(b"there"), blob_of_bytes(b"absent")
    sink.stored[there.digest] = b"there"

    sent_bytes = await upload(sink, [there, absent, absent])

    assert sent_bytes == len(b"absent")
    assert sink.batches == [len(b"absent")]


async def test_batches_stay_under_what_a_message_holds(tmp_path: Path) -> None:
    sink = Sink()
    blobs = [blob_of_bytes(bytes([n]) * SMALL_BYTES) for n in range(40)]

    await upload(sink, blobs)

    assert max(sink.batches) <= 7 << 19
    assert len(sink.batches) == 4
    assert set(sink.stored) == {blob.digest for blob in blobs}


async def test_large_file_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    sink, seen = Sink(breaks=[2, 0, 1]), list[int]()

    await upload(sink, [blob_of_file(path)], patience=patience(), progress=seen.append)

    assert sink.offsets == [0, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]
    assert sink.stored == {hashlib.sha256(LARGE).hexdigest(): LARGE}
    assert seen[-1] == len(LARGE)
    assert seen[0] == CHUNK_BYTES, "told on the way, not only at the end"
    assert len(seen) > 2


async def test_gives_up_when_nothing_moves() -> None:
    with pytest.raises(TransferBrokenError):
        await upload(Sink(breaks=[0] * 20), [blob_of_bytes(LARGE)], patience=patience(tries=3))


async def test_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    blob = blob_of_file(path)
    path.write_bytes(LARGE[:1_000_000])

    with pytest.raises(DigestMismatchError):
        await upload(Sink(), [blob], patience=patience())


async def test_refusal_is_passed_on() -> None:
    class Full(Sink):
        async def batch_put(self, blobs: Iterable[tuple[str, bytes]]) -> None:
            raise broken(grpc.StatusCode.RESOURCE_EXHAUSTED)

    with pytest.raises(grpc.RpcError):
        await upload(Full(), [blob_of_bytes(b"a")], patience=patience())
