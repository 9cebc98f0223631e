"""Sends blobs: only what is missing, small ones in batches, large ones from where they broke off."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import grpc

from lodeworks.channel.ahead import ahead
from lodeworks.channel.content_wire import BlobWriting
from lodeworks.channel.errors import DigestMismatchError
from lodeworks.channel.freed_memory import keep_freed_memory
from lodeworks.channel.patience import Patience
from lodeworks.channel.refusal import refusal_of

_T = TypeVar("_T")

CHUNK_BYTES: Final = 512 * 1024
"""Bytes per message of a Write. At 1 MiB both ends spend more: buffers of that size come fresh from the kernel."""

SMALL_BYTES: Final = 256 * 1024
"""Blobs up to here travel in batches."""

_BATCH_BYTES: Final = 3_500_000
_BATCH_BLOBS: Final = 500
_BATCHES_AT_ONCE: Final = 4
_ASK_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class LocalBlob:
    """A blob that lies here: sha256 in hex, its length, the bytes or the file that hold it, and where in the file."""

    digest: str
    size_bytes: int
    source: bytes | Path
    start: int = 0


def blob_of_bytes(data: bytes) -> LocalBlob:
    """Names bytes by their digest."""
    return LocalBlob(hashlib.sha256(data).hexdigest(), len(data), data)


def blob_of_file(path: Path) -> LocalBlob:
    """Names a file by its digest. Blocks; reads the whole file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return LocalBlob(digest, file.tell(), path)


async def upload(
    sink: BlobWriting,
    blobs: Sequence[LocalBlob],
    *,
    patience: Patience | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Sends those of the blobs that the scope misses; returns how many bytes travelled. Safe to repeat.

    Args:
        sink: Where to write.
        blobs: What should be there afterwards.
        patience: How long to go on trying after interruptions.
        progress: Called with the bytes that are there by now, of those that were missing.

    Raises:
        DigestMismatchError: A file is no longer what its digest says.
        grpc.RpcError: The receiver refused.
        TransferBrokenError: It broke off too often.
        OSError: A file cannot be read.
    """
    keep_freed_memory()
    patience = patience or Patience()
    sent_bytes = done_bytes = 0
    missing = await _missing(sink, blobs, patience)
    small = [blob for blob in missing if blob.size_bytes <= SMALL_BYTES]
    async for size_bytes in _send_small(sink, small, patience):
        sent_bytes += size_bytes
        done_bytes = sent_bytes
        if progress is not None:
            progress(done_bytes)
    for blob in missing:
        if blob.size_bytes > SMALL_BYTES:
            sent_bytes += await _write(sink, blob, patience, progress=_behind(done_bytes, progress))
            done_bytes += blob.size_bytes
            if progress is not None:
                progress(done_bytes)
    return sent_bytes


async def _send_small(sink: BlobWriting, blobs: Sequence[LocalBlob], patience: Patience) -> AsyncIterator[int]:
    """Sends small blobs and yields the bytes of each batch; several are under way, since each waits for a disk."""
    under_way: deque[asyncio.Task[int]] = deque()
    try:
        for batch in _batches(blobs):
            under_way.append(asyncio.create_task(_send_batch(sink, batch, patience)))
            if len(under_way) >= _BATCHES_AT_ONCE:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _send_batch(sink: BlobWriting, batch: Sequence[LocalBlob], patience: Patience) -> int:
    contents = await asyncio.to_thread(lambda: [(blob.digest, _content(blob)) for blob in batch])
    await _patiently(partial(sink.batch_put, contents), patience)
    patience.progressed()
    return sum(blob.size_bytes for blob in batch)


async def _missing(sink: BlobWriting, blobs: Sequence[LocalBlob], patience: Patience) -> list[LocalBlob]:
    unique = {blob.digest: blob for blob in blobs}
    digests = list(unique)
    missing = list[LocalBlob]()
    for start in range(0, len(digests), _ASK_AT_ONCE):
        asked = digests[start : start + _ASK_AT_ONCE]
        absent = await _patiently(partial(sink.find_missing, asked), patience)
        patience.progressed()
        missing.extend(unique[digest] for digest in asked if digest in absent)
    return missing


def _behind(before_bytes: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Returns the progress of one blob, which counts what was done before it."""
    return None if progress is None else lambda done_bytes: progress(before_bytes + done_bytes)


async def _write(
    sink: BlobWriting, blob: LocalBlob, patience: Patience, *, progress: Callable[[int], None] | None
) -> int:
    """Sends one large blob; after an interruption the receiver says from where. Returns how many bytes were sent."""
    sent_bytes = 0

    async def counted(chunks: AsyncIterator[bytes], place: int) -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        async for data in chunks:
            yield data
            sent_bytes += len(data)
            place += len(data)
            if progress is not None:
                progress(place)

    written = await _patiently(partial(sink.get_write, blob.digest), patience)
    while not written.complete:
        before = written.committed_bytes
        try:
            async with ahead(_chunks(blob, offset=before)) as chunks:
                written = await sink.write(
                    blob.digest, size_bytes=blob.size_bytes, offset=before, chunks=counted(chunks, before)
                )
        except grpc.RpcError as error:
            if refusal_of(error).reason != "WRITE_GAP":
                await patience.bear(error)
            written = await _patiently(partial(sink.get_write, blob.digest), patience)
        if written.committed_bytes > before:
            patience.progressed()
    return sent_bytes


async def _chunks(blob: LocalBlob, *, offset: int) -> AsyncGenerator[bytes, None]:
    if isinstance(blob.source, bytes):
        for start in range(offset, blob.size_bytes, CHUNK_BYTES):
            yield blob.source[start : start + CHUNK_BYTES]
        return
    file = await asyncio.to_thread(blob.source.open, "rb")
    with file:
        file.seek(blob.start + offset)
        remaining = blob.size_bytes - offset
        while remaining > 0:
            data = await asyncio.to_thread(file.read, min(CHUNK_BYTES, remaining))
            if not data:
                raise DigestMismatchError(
                    expected=blob.digest, received=f"of a file that became shorter, {blob.source}"
                )
            remaining -= len(data)
            yield data


def _batches(blobs: Sequence[LocalBlob]) -> Iterator[list[LocalBlob]]:
    """Groups small blobs so that each message stays under its limit."""
    batch = list[LocalBlob]()
    size_bytes = 0
    for blob in blobs:
        if batch and (size_bytes + blob.size_bytes > _BATCH_BYTES or len(batch) >= _BATCH_BLOBS):
            yield batch
            batch, size_bytes = [], 0
        batch.append(blob)
        size_bytes += blob.size_bytes
    if batch:
        yield batch


def _content(blob: LocalBlob) -> bytes:
    if isinstance(blob.source, bytes):
        return blob.source
    with blob.source.open("rb", buffering=0) as file:
        file.seek(blob.start)
        return file.read(blob.size_bytes)


async def _patiently(call: Callable[[], Awaitable[_T]], patience: Patience) -> _T:
    while True:
        try:
            return await call()
        except grpc.RpcError as error:
            await patience.bear(error)
