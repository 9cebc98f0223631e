"""Fetches blobs by range: taken up again where it broke off, checked, and in place only when whole."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import grpc

from lodeworks.channel.ahead import ahead
from lodeworks.channel.content_wire import BlobReading
from lodeworks.channel.errors import DigestMismatchError
from lodeworks.channel.patience import Patience

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher

_CHUNK_BYTES: Final = 1 << 20


async def read_resuming(
    source: BlobReading, digest: str, *, offset: int, size_bytes: int, patience: Patience | None = None
) -> AsyncGenerator[bytes, None]:
    """Yields the bytes of a blob from an offset to its end, over any number of interruptions.

    Never yields more than the declared size, whatever the sender does. Does not check the digest: whoever has the
    prefix can.

    Args:
        source: Where to read.
        digest: sha256 in hex.
        offset: First byte wanted.
        size_bytes: Length of the whole.
        patience: How long to go on trying.

    Raises:
        grpc.RpcError: The sender refused.
        TransferBrokenError: It broke off too often.
    """
    patience = patience or Patience()
    while offset < size_bytes:
        before = offset
        try:
            async for piece in source.read(digest, offset=offset):
                data = piece.data[: size_bytes - offset]
                offset += len(data)
                if data:
                    patience.progressed()
                    yield data
                if offset >= size_bytes:
                    break
        except grpc.RpcError as error:
            await patience.bear(error)
            continue
        if offset == before:
            # The stream ended well and brought nothing: the sender's copy is shorter than declared.
            raise DigestMismatchError(expected=digest, received=f"of {offset} bytes instead of {size_bytes}")


async def download(
    source: BlobReading,
    digest: str,
    path: Path,
    *,
    size_bytes: int,
    patience: Patience | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fetches a blob into a file. A broken-off download leaves ``<name>.part``, from which the next one goes on.

    Args:
        source: Where to read.
        digest: sha256 in hex.
        path: Where the whole file appears, by rename; its folder exists.
        size_bytes: Length of the whole.
        patience: How long to go on trying.
        progress: Called with the bytes that are there.

    Raises:
        DigestMismatchError: What came is not what was named; nothing is left behind.
        grpc.RpcError: The sender refused.
        TransferBrokenError: It broke off too often.
        OSError: The disk refused.
    """
    part = path.with_name(path.name + ".part")
    file, hasher, offset = await asyncio.to_thread(_open_part, part, size_bytes)
    try:
        pieces = read_resuming(source, digest, offset=offset, size_bytes=size_bytes, patience=patience)
        async with ahead(pieces) as taken:
            async for data in taken:
                await asyncio.to_thread(_append, file, hasher, data)
                offset += len(data)
                if progress is not None:
                    progress(offset)
        await asyncio.to_thread(_seal, file)
    finally:
        file.close()
    if hasher.hexdigest() != digest:
        part.unlink()
        raise DigestMismatchError(expected=digest, received=hasher.hexdigest())
    await asyncio.to_thread(_publish, part, path)


def _open_part(part: Path, size_bytes: int) -> tuple[BinaryIO, "Hasher", int]:
    """Opens what an earlier try left and hashes it again; longer than the whole, it is worthless."""
    file = part.open("a+b")
    hasher = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        hasher.update(chunk)
    offset = file.tell()
    if offset > size_bytes:
        file.truncate(0)
        return file, hashlib.sha256(), 0
    return file, hasher, offset


def _append(file: BinaryIO, hasher: "Hasher", data: bytes) -> None:
    hasher.update(data)
    file.write(data)


def _seal(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(part: Path, path: Path) -> None:
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
