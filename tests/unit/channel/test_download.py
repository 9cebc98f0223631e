"""Downloads over a connection that breaks, lies and stops."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from lodeworks.channel.backoff import Backoff
from lodeworks.channel.content_wire import Piece
from lodeworks.channel.download import download, read_resuming
from lodeworks.channel.errors import DigestMismatchError, TransferBrokenError
from lodeworks.channel.patience import Patience

CONTENT = bytes(range(256)) * 5
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def broken(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Socket closed")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Source:
    """Sends pieces of 100 bytes and breaks off after so many, once per entry."""

    def __init__(self, content: bytes = CONTENT, *, breaks: list[int] | None = None) -> None:
        self.content = content
        self.breaks = breaks or []
        self.offsets: list[int] = []

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        self.offsets.append(offset)
        pieces = self.breaks.pop(0) if self.breaks else None
        end = min(offset + limit, len(self.content)) if limit else len(self.content)
        for position in range(offset, end, 100):
            if pieces == 0:
                raise broken()
            pieces = None if pieces is None else pieces - 1
            yield Piece(position, self.content[position : min(position + 100, end)], len(self.content))


def patience(waits: list[float] | None = None, *, tries: int = 8) -> Patience:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return Patience(tries=tries, sleep=sleep, backoff=Backoff(lambda: 1.0, first_s=0.2))


async def test_file_appears_whole(tmp_path: Path) -> None:
    seen: list[int] = []

    await download(Source(), DIGEST, tmp_path / "a", size_bytes=len(CONTENT), progress=seen.append)

    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names(tmp_path) == ["a"]
    assert seen[-1] == len(CONTENT)


async def test_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    source, waits = Source(breaks=[3, 0, 5]), list[float]()

    await download(source, DIGEST, tmp_path / "a", size_bytes=len(CONTENT), patience=patience(waits))

    assert source.offsets == [0, 300, 300, 800]
    assert waits == [0.2, 0.4, 0.2]
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_goes_on_from_what_an_earlier_process_left(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:777])
    source = Source()

    await download(source, DIGEST, tmp_path / "a", size_bytes=len(CONTENT))

    assert source.offsets == [777]
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_rotten_part_is_found_and_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 777)
    source = Source()

    await download(source, DIGEST, tmp_path / "a", size_bytes=len(CONTENT))

    assert source.offsets == [777, 0]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names(tmp_path) == ["a"]


async def test_rotten_part_of_a_rotten_blob_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 777)

    with pytest.raises(DigestMismatchError):
        await download(Source(CONTENT[::-1]), DIGEST, tmp_path / "a", size_bytes=len(CONTENT))

    assert names(tmp_path) == []


async def test_part_longer_than_the_whole_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 7777)

    await download(Source(), DIGEST, tmp_path / "a", size_bytes=len(CONTENT))

    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_gives_up_and_keeps_what_arrived(tmp_path: Path) -> None:
    source = Source(breaks=[2] + [0] * 10)

    with pytest.raises(TransferBrokenError):
        await download(source, DIGEST, tmp_path / "a", size_bytes=len(CONTENT), patience=patience(tries=3))

    assert (tmp_path / "a.part").read_bytes() == CONTENT[:200]
    assert not (tmp_path / "a").exists()


async def test_wrong_bytes_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError):
        await download(Source(CONTENT[::-1]), DIGEST, tmp_path / "a", size_bytes=len(CONTENT))

    assert names(tmp_path) == []


async def test_short_content_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(DigestMismatchError):
        [data async for data in read_resuming(Source(CONTENT[:50]), DIGEST, offset=0, end=len(CONTENT))]


async def test_never_yields_more_than_declared() -> None:
    got = [data async for data in read_resuming(Source(), DIGEST, offset=0, end=250)]

    assert b"".join(got) == CONTENT[:250]


async def test_refusal_is_passed_on(tmp_path: Path) -> None:
    class Refusing:
        async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
            raise broken(grpc.StatusCode.NOT_FOUND)
            yield Piece(0, b"", 0)

    with pytest.raises(grpc.RpcError):
        await download(Refusing(), DIGEST, tmp_path / "a", size_bytes=len(CONTENT))


async def test_empty_blob(tmp_path: Path) -> None:
    await download(Source(b""), hashlib.sha256(b"").hexdigest(), tmp_path / "a", size_bytes=0)

    assert (tmp_path / "a").read_bytes() == b""


async def test_waits_out_a_restart_however_many_tries_it_takes(tmp_path: Path) -> None:
    waits = list[float]()
    long = patience(waits, tries=2)
    long.least_s = 4.0

    await download(Source(breaks=[0] * 5), DIGEST, tmp_path / "a", size_bytes=len(CONTENT), patience=long)

    assert len(waits) == 5
    with pytest.raises(TransferBrokenError, match="broke off 6 times"):
        await download(Source(breaks=[0] * 20), DIGEST, tmp_path / "b", size_bytes=len(CONTENT), patience=long)
