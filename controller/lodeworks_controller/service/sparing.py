"""Storing content beside a collector: what is stored again loses the collector's mark first."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.service.blob_store import Blob, BlobStore, BlobWrite, Location

if TYPE_CHECKING:
    from lodeworks_controller.service.store import Store

_AGAIN_S: Final = 0.05
_TRIES: Final = 100


class SparingBlobs:
    """A BlobStore for all who store something: takes the collector's mark from a blob before the store is asked.

    The store keeps a blob that is there already. Were it marked, the collector could take it between that answer and
    the reference that follows. Without its mark it has a whole grace; while it is being removed, one waits.

    Args:
        blobs: The store.
        store: The database.
    """

    def __init__(self, blobs: BlobStore, store: "Store") -> None:
        self._blobs = blobs
        self._store = store

    async def find_missing(self, digests: Iterable[str]) -> set[str]:
        """Returns those that are not stored."""
        return await self._blobs.find_missing(digests)

    async def locate(self, digest: str) -> Location:
        """Returns where a blob lies, or raises NotFoundError BLOB_NOT_FOUND."""
        return await self._blobs.locate(digest)

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Returns digest → length of those that are stored."""
        return await self._blobs.sizes(digests)

    async def shared_root(self, nonce: str) -> Path:
        """Returns the store's folder to who knows what its file ``nonce`` holds."""
        return await self._blobs.shared_root(nonce)

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes."""
        return (await self.put_many([data]))[0]

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> list[Blob]:
        """Stores several at once."""
        named = digests or [hashlib.sha256(data).hexdigest() for data in contents]
        await self._spare(named)
        return await self._blobs.put_many(contents, digests=named)

    async def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Stores a file."""
        await self._spare([await asyncio.to_thread(_digest_of, path)])
        return await self._blobs.put_file(path, move=move)

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns bytes from an offset, at most limit (0 = to the end), or raises NotFoundError BLOB_NOT_FOUND."""
        return await self._blobs.read(digest, offset=offset, limit=limit)

    @asynccontextmanager
    async def begin_write(self, digest: str, *, size_bytes: int, owner: str) -> AsyncIterator[BlobWrite]:
        """Goes on with the owner's write of a blob, or begins it."""
        async with self._blobs.begin_write(digest, size_bytes=size_bytes, owner=owner) as writing:
            yield _SparingWrite(writing, self, digest)

    async def written_bytes(self, digest: str, *, owner: str) -> int:
        """Returns how much of an owner's unfinished write is there; 0 when there is none."""
        return await self._blobs.written_bytes(digest, owner=owner)

    def contents(self) -> AsyncIterator[Sequence[Blob]]:
        """Yields all that is stored."""
        return self._blobs.contents()

    async def delete(self, digests: Iterable[str]) -> None:
        """Removes blobs; the collector's alone."""
        await self._blobs.delete(digests)

    async def compact(self) -> None:
        """Gives back the room that removed blobs still take, where it does not come back at once."""
        await self._blobs.compact()

    async def prune_writes(self, *, before: datetime) -> int:
        """Removes unfinished writes that nobody went on with since a moment."""
        return await self._blobs.prune_writes(before=before)

    async def spare(self, digests: Sequence[str]) -> None:
        """Takes marks from blobs about to be stored or kept; waits for those that are just being removed."""
        await self._spare(digests)

    async def _spare(self, digests: Sequence[str]) -> None:
        async with self._store.snapshot() as tx:
            marked = await tx.blobs.marked(digests)
        if not marked:
            return
        for _ in range(_TRIES):
            async with self._store.transaction() as tx:
                marked = await tx.blobs.spare(marked)
            if not marked:
                return
            await asyncio.sleep(_AGAIN_S)
        raise UnavailableError("BLOB_LEAVING", "content is just being removed; send it again", digest=min(marked))


class _SparingWrite:
    """A write that spares its blob before it is put in place."""

    def __init__(self, writing: BlobWrite, blobs: SparingBlobs, digest: str) -> None:
        self._writing = writing
        self._blobs = blobs
        self._digest = digest

    @property
    def committed_bytes(self) -> int:
        """How much is there."""
        return self._writing.committed_bytes

    async def append(self, offset: int, data: bytes) -> None:
        """Adds bytes."""
        await self._writing.append(offset, data)

    async def commit(self) -> Blob:
        """Checks the whole and puts it in place, durably."""
        await self._blobs.spare([self._digest])
        return await self._writing.commit()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
