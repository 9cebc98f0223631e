"""Blobs in an S3-compatible object store: large ones as objects, small ones in packs, an index in the database.

A batch of small blobs becomes one pack at once, so that what was answered is durable; `compact` makes large packs of
many. The order is always: object first, then the index; index first, then the removal of an object. A crash leaves at
most objects that no index knows.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import Blob, BlobWrite, Location
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.blobs.folder import unproved
from lodeworks_controller.storage.blobs.object_cache import ObjectCache
from lodeworks_controller.storage.blobs.placement import Pack, Placed, PlacementStore
from lodeworks_controller.storage.blobs.repacking import Repacking, object_key, pack_key

PACKED_BYTES: Final = 4 << 20
"""Blobs up to here go into packs."""

_PACK_BYTES: Final = 64 << 20
_PART_BYTES: Final = 8 << 20
_PAGE: Final = 1_000


class ObjectBlobStore:
    """Keeps blobs in an object store.

    Args:
        objects: An obstore store, with its prefix.
        index: Who keeps note of where they lie; all controllers share it.
        folder: Local folder of unfinished writes and of the read cache; this controller's own.
        ids: Names of packs and temporaries.
        cache_bytes: What the read cache may take.
    """

    def __init__(
        self, objects: Any, index: PlacementStore, *, folder: Path, ids: Ids, cache_bytes: int = 20 << 30
    ) -> None:
        self._objects = objects
        self._index = index
        self._ids = ids
        self._arriving = DiskBlobStore(folder / "arriving", ids=ids)
        self._cache = ObjectCache(folder / "cache", limit_bytes=cache_bytes)
        self._repacking = Repacking(objects, index, folder=folder / "packing", ids=ids)

    def open(self) -> None:
        """Makes the local folders. Blocks; called once at start."""
        self._arriving.open()
        self._cache.open()
        self._repacking.open()

    async def find_missing(self, digests: Iterable[str]) -> set[str]:
        """Returns those that are not stored."""
        wanted = set(digests)
        return wanted - set(await self._find(wanted))

    async def locate(self, digest: str) -> Location:
        """Returns where a blob lies in the local read cache, fetched if need be; or NotFoundError BLOB_NOT_FOUND."""
        placed = await self._placed(digest)

        async def fetch(path: Path) -> None:
            with path.open("wb") as file:
                async for data in self._ranges(placed):
                    await asyncio.to_thread(file.write, data)

        return Location(await self._cache.get(digest, size_bytes=placed.size_bytes, fetch=fetch), 0, placed.size_bytes)

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Returns digest → length of those that are stored."""
        return {digest: placed.size_bytes for digest, placed in (await self._find(digests)).items()}

    async def shared_root(self, nonce: str) -> Path:
        """Refuses: there is no folder that a worker could read instead."""
        del nonce
        raise unproved()

    async def contents(self) -> AsyncIterator[Sequence[Blob]]:
        """Yields all that is stored, a page at a time."""
        after = ""
        while True:
            async with self._index.snapshot() as tx:
                page = await tx.objects.page(after=after, limit=_PAGE)
            if not page:
                return
            yield [Blob(one.digest, one.size_bytes) for one in page]
            after = page[-1].digest

    async def delete(self, digests: Iterable[str]) -> None:
        """Removes blobs; the room of those in packs comes back with `compact`."""
        async with self._index.transaction() as tx:
            gone = await tx.objects.remove(list(digests))
        for digest in digests:
            await self._cache.drop(digest)
        await asyncio.gather(*(self._objects.delete_async(object_key(one.digest)) for one in gone if not one.pack))

    async def compact(self) -> None:
        """Makes large packs of small and half-empty ones."""
        await self._repacking.run()

    async def prune_writes(self, *, before: datetime) -> int:
        """Removes this controller's unfinished writes that nobody went on with since a moment."""
        return await self._arriving.prune_writes(before=before)

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes."""
        return (await self.put_many([data]))[0]

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> list[Blob]:
        """Stores several at once: the small ones as a pack."""
        blobs = await asyncio.to_thread(_named, contents, digests)
        absent = await self.find_missing(blob.digest for blob in blobs)
        new = {blob.digest: data for blob, data in zip(blobs, contents, strict=True) if blob.digest in absent}
        pack, size_bytes = dict[str, bytes](), 0
        for digest, data in new.items():
            if len(data) > PACKED_BYTES:
                await self._put_object(digest, data, size_bytes=len(data))
                continue
            if pack and size_bytes + len(data) > _PACK_BYTES:
                await self._put_pack(pack)
                pack, size_bytes = {}, 0
            pack[digest] = data
            size_bytes += len(data)
        if pack:
            await self._put_pack(pack)
        return blobs

    async def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Stores a file."""
        blob = await asyncio.to_thread(_blob_of, path)
        if await self.find_missing([blob.digest]):
            if blob.size_bytes <= PACKED_BYTES:
                await self.put_many([await asyncio.to_thread(path.read_bytes)], digests=[blob.digest])
            else:
                await self._put_object(blob.digest, path, size_bytes=blob.size_bytes)
        if move:
            await asyncio.to_thread(path.unlink)
        return blob

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns bytes from an offset, at most limit (0 = to the end), or raises NotFoundError BLOB_NOT_FOUND."""
        cached = await self._cache.find(digest)
        if cached is not None:
            return await asyncio.to_thread(_read, cached, offset, limit)
        placed = await self._placed(digest)
        end = placed.size_bytes if not limit else min(placed.size_bytes, offset + limit)
        if offset >= end:
            return b""
        return await self._range(placed, start=offset, size_bytes=end - offset)

    @asynccontextmanager
    async def begin_write(self, digest: str, *, size_bytes: int, owner: str) -> AsyncIterator[BlobWrite]:
        """Goes on with the owner's write at this controller, or begins it; the whole goes to the object store."""
        async with self._arriving.begin_write(digest, size_bytes=size_bytes, owner=owner) as writing:
            yield _ObjectWrite(writing, self)

    async def written_bytes(self, digest: str, *, owner: str) -> int:
        """Returns how much of an owner's unfinished write is at this controller; 0 when there is none."""
        return await self._arriving.written_bytes(digest, owner=owner)

    async def take_arrived(self, blob: Blob) -> None:
        """Brings a write that is whole from the local folder to the object store."""
        arrived = await self._arriving.locate(blob.digest)
        await self.put_file(arrived.path)
        await self._arriving.delete([blob.digest])

    async def _put_object(self, digest: str, source: bytes | Path, *, size_bytes: int) -> None:
        await self._objects.put_async(object_key(digest), source)
        async with self._index.transaction() as tx:
            await tx.objects.put([Placed(digest, "", 0, size_bytes)])

    async def _put_pack(self, contents: dict[str, bytes]) -> None:
        pack = Pack(self._ids(), sum(len(data) for data in contents.values()))
        placed, start = list[Placed](), 0
        for digest, data in contents.items():
            placed.append(Placed(digest, pack.id, start, len(data)))
            start += len(data)
        await self._objects.put_async(pack_key(pack.id), b"".join(contents.values()))
        async with self._index.transaction() as tx:
            await tx.objects.put(placed, pack=pack)

    async def _find(self, digests: Iterable[str]) -> dict[str, Placed]:
        async with self._index.snapshot() as tx:
            return await tx.objects.find(digests)

    async def _placed(self, digest: str) -> Placed:
        found = (await self._find([digest])).get(digest)
        if found is None:
            raise NotFoundError("BLOB_NOT_FOUND", f"there is no content {digest} in the store", digest=digest)
        return found

    async def _ranges(self, placed: Placed) -> AsyncIterator[bytes]:
        for start in range(0, placed.size_bytes, _PART_BYTES):
            yield await self._range(placed, start=start, size_bytes=min(_PART_BYTES, placed.size_bytes - start))

    async def _range(self, placed: Placed, *, start: int, size_bytes: int) -> bytes:
        for last_try in (False, True):
            key = pack_key(placed.pack) if placed.pack else object_key(placed.digest)
            try:
                got = await self._objects.get_range_async(key, start=placed.start_bytes + start, length=size_bytes)
            except FileNotFoundError:
                if last_try:
                    raise
                placed = await self._placed(placed.digest)  # it moved into another pack meanwhile
            else:
                return bytes(got)
        raise AssertionError("unreachable")


class _ObjectWrite:
    """A write that goes on to the object store when it is whole."""

    def __init__(self, writing: BlobWrite, store: ObjectBlobStore) -> None:
        self._writing = writing
        self._store = store

    @property
    def committed_bytes(self) -> int:
        """How much is there."""
        return self._writing.committed_bytes

    async def append(self, offset: int, data: bytes) -> None:
        """Adds bytes."""
        await self._writing.append(offset, data)

    async def commit(self) -> Blob:
        """Checks the whole and brings it to the object store."""
        blob = await self._writing.commit()
        await self._store.take_arrived(blob)
        return blob


def _named(contents: Sequence[bytes], digests: Sequence[str] | None) -> list[Blob]:
    blobs = [Blob(hashlib.sha256(data).hexdigest(), len(data)) for data in contents]
    for blob, digest in zip(blobs, digests or [blob.digest for blob in blobs], strict=True):
        if blob.digest != digest:
            raise InvalidError("DIGEST_MISMATCH", f"the bytes sent as {digest} have digest {blob.digest}")
    return blobs


def _blob_of(path: Path) -> Blob:
    with path.open("rb") as file:
        return Blob(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def _read(path: Path, offset: int, limit: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(limit or -1)
