"""Several ranges of one blob at a time: in any order, interrupted, killed, and taken up again."""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest
from lodeworks.channel.backoff import Backoff
from lodeworks.channel.content_wire import Piece
from lodeworks.channel.download import download
from lodeworks.channel.errors import DigestMismatchError, TransferBrokenError
from lodeworks.channel.part_file import PartFile
from lodeworks.channel.patience import Patience
from lodeworks.channel.streams import Streams

CONTENT = random.Random(7).randbytes(10_007)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FOUR = Streams(4, range_bytes=1_000)


def broken(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Socket closed")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Source:
    """Sends pieces of 100 bytes; `meet` is called before each, with the number of open streams and bytes sent."""

    def __init__(self, content: bytes = CONTENT, *, meet: Callable[["Source"], None] = lambda _: None) -> None:
        self.content = content
        self.meet = meet
        self.open = self.most = self.sent_bytes = 0
        self.asked = list[tuple[int, int]]()

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        self.asked.append((offset, limit))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            for position in range(offset, offset + limit, 100):
                await asyncio.sleep(0)
                self.meet(self)
                data = self.content[position : min(position + 100, offset + limit)]
                self.sent_bytes += len(data)
                yield Piece(position, data, len(self.content))
        finally:
            self.open -= 1


class Cut(Source):
    """Loses all streams that are open when half has been sent, once."""

    cut = 0

    async def read(self, digest: str, *, offset: int, limit: int = 0) -> AsyncIterator[Piece]:
        before = self.sent_bytes < 5_000
        async for piece in super().read(digest, offset=offset, limit=limit):
            if before and self.sent_bytes >= 5_000:
                self.cut += 1
                raise broken()
            yield piece


def patience(waits: list[float], *, tries: int = 8) -> Patience:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return Patience(tries=tries, sleep=sleep, backoff=Backoff(lambda: 1.0, first_s=0.2))


async def fetch(source: Source, path: Path, *, streams: Streams = FOUR, waits: list[float] | None = None) -> None:
    await download(
        source,
        DIGEST,
        path,
        size_bytes=len(CONTENT),
        streams=streams,
        patience=patience([] if waits is None else waits),
    )


@pytest.mark.parametrize("number", [1, 2, 4, 32])
async def test_so_many_ranges_are_read_at_a_time(tmp_path: Path, number: int) -> None:
    source = Source()

    await fetch(source, tmp_path / "a", streams=Streams(number, range_bytes=1_000))

    assert source.most == min(number, 11)
    assert source.sent_bytes == len(CONTENT)
    assert sorted(source.asked) == [(start, min(1_000, len(CONTENT) - start)) for start in range(0, 10_007, 1_000)]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names(tmp_path) == ["a"]


async def test_a_small_blob_is_read_as_one(tmp_path: Path) -> None:
    source = Source()

    await fetch(source, tmp_path / "a", streams=Streams(4))

    assert source.asked == [(0, len(CONTENT))]


async def test_an_outage_of_all_streams_is_waited_out_once(tmp_path: Path) -> None:
    source, waits = Cut(), list[float]()

    await fetch(source, tmp_path / "a", waits=waits)

    assert source.cut == 4
    assert waits == [0.2]
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_a_server_that_stays_away_ends_the_transfer_and_a_later_one_goes_on(tmp_path: Path) -> None:
    def meet(source: Source) -> None:
        if source.sent_bytes >= 5_000:
            raise broken()

    first, waits = Source(meet=meet), list[float]()
    with pytest.raises(TransferBrokenError):
        await fetch(first, tmp_path / "a", waits=waits)
    second = Source()
    await fetch(second, tmp_path / "a")

    assert len(waits) == 8
    assert first.sent_bytes + second.sent_bytes == len(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names(tmp_path) == ["a"]


async def test_a_refusal_of_one_range_is_passed_on_and_ends_the_others(tmp_path: Path) -> None:
    def meet(source: Source) -> None:
        if source.sent_bytes > 5_000:
            raise broken(grpc.StatusCode.PERMISSION_DENIED)

    source = Source(meet=meet)
    with pytest.raises(grpc.RpcError):
        await fetch(source, tmp_path / "a")

    assert source.open == 0


async def test_cancelled_at_half_it_goes_on_with_the_rest(tmp_path: Path) -> None:
    half = asyncio.Event()

    def meet(source: Source) -> None:
        if source.sent_bytes >= 5_000:
            half.set()

    first = Source(meet=meet)
    work = asyncio.create_task(fetch(first, tmp_path / "a"))
    await half.wait()
    work.cancel()
    await asyncio.wait([work])
    second = Source()
    await fetch(second, tmp_path / "a")

    assert first.open == 0
    # Of each stream the piece that was just being written may travel again.
    assert len(CONTENT) <= first.sent_bytes + second.sent_bytes <= len(CONTENT) + 4 * 100
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_a_kill_leaves_is_a_beginning(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    part = PartFile(tmp_path / "a", size_bytes=len(CONTENT))
    for start in chance.sample(range(0, len(CONTENT), 500), 12):
        part.write(start, CONTENT[start : start + chance.choice((250, 500, 900))])
    there_bytes = part.there_bytes
    part.close()
    journal = tmp_path / "a.part.ranges"
    if chance.random() < 0.5:  # the last line is cut off
        journal.write_bytes(journal.read_bytes()[: -chance.randint(1, 4)])
        there_bytes = 0
    source = Source()

    await fetch(source, tmp_path / "a")

    assert source.sent_bytes <= len(CONTENT) - there_bytes
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert names(tmp_path) == ["a"]


async def test_ranges_that_the_disk_lost_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(bytes(3_000))  # zeros, as after a power failure
    (tmp_path / "a.part.ranges").write_text("0 1000\n2000 9000\nno line\n")
    source = Source()

    await fetch(source, tmp_path / "a")

    assert source.sent_bytes == 8_007 + len(CONTENT)  # what was missing, and then all of it
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_ranges_without_a_part_count_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.part.ranges").write_text("0 9000\n")
    source = Source()

    await fetch(source, tmp_path / "a")

    assert source.sent_bytes == len(CONTENT)


async def test_killed_before_the_rename_nothing_travels_again(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    source = Source()

    await fetch(source, tmp_path / "a")

    assert source.asked == []
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_wrong_bytes_of_many_ranges_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError):
        await fetch(Source(CONTENT[::-1]), tmp_path / "a")

    assert names(tmp_path) == []


async def test_a_disk_without_room_says_so_before_bytes_move(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    source = Source()
    with pytest.raises(OSError, match="No space left"):
        await download(source, DIGEST, tmp_path / "a", size_bytes=(disk.f_bavail + 1_000_000) * disk.f_frsize)

    assert source.asked == []


def test_what_an_earlier_try_claimed_is_not_asked_of_the_disk_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = 8 << 20
    part = PartFile(tmp_path / "a", size_bytes=size_bytes)
    part.write(0, CONTENT)
    part.close()
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))

    again = PartFile(tmp_path / "a", size_bytes=size_bytes)
    assert again.there_bytes == len(CONTENT)
    again.close()
    with pytest.raises(OSError, match="No space left"):
        PartFile(tmp_path / "a", size_bytes=2 * size_bytes)
