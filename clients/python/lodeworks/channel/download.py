"""Fetches blobs by ranges, several at a time: taken up again where it broke off, checked, in place only when whole."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc

from lodeworks.channel.content_wire import BlobReading
from lodeworks.channel.errors import DigestMismatchError
from lodeworks.channel.freed_memory import keep_freed_memory
from lodeworks.channel.part_file import PartFile
from lodeworks.channel.patience import Bearing, Patience, SharedPatience
from lodeworks.channel.streams import Streams


async def read_resuming(
    source: BlobReading, digest: str, *, offset: int, end: int, patience: Bearing | None = None
) -> AsyncGenerator[bytes, None]:
    """Yields the bytes of a blob from an offset to an end, over any number of interruptions.

    Never yields more than was asked for, whatever the sender does. Does not check the digest: whoever has the
    rest can.

    Args:
        source: Where to read.
        digest: sha256 in hex.
        offset: First byte wanted.
        end: Position behind the last byte wanted: the length of the whole, or less.
        patience: How long to go on trying.

    Raises:
        DigestMismatchError: The sender's blob is shorter.
        grpc.RpcError: The sender refused.
        TransferBrokenError: It broke off too often.
    """
    patience = patience or Patience()
    while offset < end:
        before = offset
        try:
            async for piece in source.read(digest, offset=offset, limit=end - offset):
                if offset >= end:  # more than was asked for
                    break
                data = piece.data[: end - offset]
                offset += len(data)
                if data:
                    patience.progressed()
                    yield data
        except grpc.RpcError as error:
            await patience.bear(error)
            continue
        if offset == before:
            # The stream ended well and brought nothing: the sender's copy is shorter than declared.
            raise DigestMismatchError(expected=digest, received=f"that ends at byte {offset} instead of {end}")


async def download(
    source: BlobReading,
    digest: str,
    path: Path,
    *,
    size_bytes: int,
    streams: Streams | None = None,
    patience: Patience | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fetches a blob into a file.

    A broken-off download leaves ``<name>.part`` and ``<name>.part.ranges``, from which the next one goes on. What was
    left and turns out to be bad is fetched anew, once.

    Args:
        source: Where to read.
        digest: sha256 in hex.
        path: Where the whole file appears, by rename; its folder exists.
        size_bytes: Length of the whole.
        streams: How many ranges are read at a time.
        patience: How long to go on trying.
        progress: Called with the bytes that are there.

    Raises:
        DigestMismatchError: What came is not what was named; nothing is left behind.
        grpc.RpcError: The sender refused.
        TransferBrokenError: It broke off too often.
        OSError: The disk refused.
    """
    keep_freed_memory()
    while True:
        part = await asyncio.to_thread(PartFile, path, size_bytes=size_bytes)
        resumed = part.there_bytes > 0
        arriving = _Arriving(source, digest, part, patience=SharedPatience(patience or Patience()), progress=progress)
        try:
            await arriving.fill(streams or Streams())
            received = await asyncio.to_thread(part.seal)
        finally:
            part.close()
        if received == digest:
            await asyncio.to_thread(part.publish)
            return
        await asyncio.to_thread(part.discard)
        if not resumed:
            raise DigestMismatchError(expected=digest, received=received)


async def _done(work: Coroutine[Any, Any, None]) -> None:
    """Does the work to its end, also where the caller is cancelled meanwhile."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.shield(working)
    finally:
        if not working.done():
            await asyncio.wait([working])


class _Arriving:
    """Brings the missing ranges of a blob into its part file, and hashes what has no gap before it meanwhile."""

    def __init__(
        self,
        source: BlobReading,
        digest: str,
        part: PartFile,
        *,
        patience: SharedPatience,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._source = source
        self._digest = digest
        self._part = part
        self._patience = patience
        self._progress = progress
        self._more = asyncio.Event()

    async def fill(self, streams: Streams) -> None:
        """Reads until nothing is missing; each stream takes the first range that nobody has taken."""
        ranges = list(self._part.missing(longest_bytes=streams.range_bytes))
        until = self._part.there_bytes + sum(end - start for start, end in ranges)
        turn = iter(ranges)

        async def one_after_the_other() -> None:
            patience = self._patience.one()
            for start, end in turn:
                await self._fetch(start, end, patience)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hash(until))
                for _ in range(min(streams.number, len(ranges))):
                    group.create_task(one_after_the_other())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__

    async def _fetch(self, start: int, end: int, patience: Bearing) -> None:
        # Nothing is taken ahead: the other streams arrive meanwhile, and what waits here is lost in a kill.
        pieces = read_resuming(self._source, self._digest, offset=start, end=end, patience=patience)
        async with aclosing(pieces):
            async for data in pieces:
                await _done(asyncio.to_thread(self._part.write, start, data))
                start += len(data)
                self._more.set()
                if self._progress is not None:
                    self._progress(self._part.there_bytes)

    async def _hash(self, until: int) -> None:
        while self._part.hashed_bytes < until:
            self._more.clear()
            if self._part.hashed_bytes < self._part.prefix_bytes:
                await asyncio.to_thread(self._part.hash_prefix)
            else:
                await self._more.wait()
