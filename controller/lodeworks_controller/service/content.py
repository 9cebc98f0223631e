"""Content by sha256, moved within the scope of a caller: asked for, sent, read, located."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore, BlobWrite, Location, check_digest
from lodeworks_controller.service.content_scope import Scope, Scopes
from lodeworks_controller.service.store import Store

READ_BYTES: Final = 512 * 1024
"""Bytes per piece of a read."""

BATCH_BYTES: Final = 1 << 20
"""What one batch that is read may hold together."""

PUT_BYTES: Final = 7 << 19
"""What one batch that is written may hold together; with its frame it must stay below 4 MiB, the most of a message."""

FIND_AT_ONCE: Final = 10_000
"""Digests that one FindMissing may name."""


@dataclass(frozen=True, slots=True)
class WriteState:
    """How far a write has come."""

    committed_bytes: int
    complete: bool


class ContentService:
    """Moves content for callers whose scope was already found.

    Args:
        store: Units of work.
        blobs: Where content is kept.

    Attributes:
        scopes: Finds the scope of a caller.
    """

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self.scopes = Scopes(store)
        self._blobs = blobs

    async def find_missing(self, scope: Scope, digests: Sequence[str]) -> list[str]:
        """Returns those that must be sent: not stored, or not the scope's, as a digest is no key to others' content."""
        if len(digests) > FIND_AT_ONCE:
            raise InvalidError("TOO_MANY", f"ask for at most {FIND_AT_ONCE:,} digests at once", field="digests")
        visible = await self.scopes.visible(scope, [check_digest(digest) for digest in digests])
        absent = await self._blobs.find_missing(visible)
        await self.scopes.renew(scope, visible - absent)
        return [digest for digest in dict.fromkeys(digests) if digest not in visible or digest in absent]

    async def put(self, scope: Scope, contents: Sequence[tuple[str, bytes]]) -> None:
        """Stores small blobs, all or none, each under the digest that the caller says it has."""
        together = sum(len(data) for _, data in contents)
        scope.owner_of_more(together)
        if together > PUT_BYTES:
            raise InvalidError(
                "BATCH_TOO_LARGE", "a batch holds at most 3.5 MiB; send the rest in another", field="blobs"
            )
        digests = [check_digest(digest) for digest, _ in contents]
        await self._blobs.put_many([data for _, data in contents], digests=digests)
        await self.scopes.refer(scope, {digest: len(data) for digest, data in contents})

    async def write(
        self, scope: Scope, digest: str, *, size_bytes: int, pieces: AsyncIterator[tuple[int, bytes]]
    ) -> WriteState:
        """Takes the pieces (offset, bytes) of one blob; a whole one is checked and in place when this returns."""
        owner = scope.owner_of_more(size_bytes)
        check_digest(digest)
        if size_bytes < 0:
            raise InvalidError("SIZE_INVALID", "a blob has a size of 0 bytes or more", field="size_bytes")
        async with self._blobs.begin_write(digest, size_bytes=size_bytes, owner=owner) as writing:
            await _append_all(writing, pieces)
            if writing.committed_bytes < size_bytes:
                return WriteState(writing.committed_bytes, complete=False)
            await writing.commit()
        await self.scopes.refer(scope, {digest: size_bytes})
        return WriteState(size_bytes, complete=True)

    async def write_state(self, scope: Scope, digest: str) -> WriteState:
        """Returns how far the scope's write of a blob has come."""
        owner = scope.owner()
        if not await self.find_missing(scope, [digest]):
            location = await self._blobs.locate(digest)
            return WriteState(location.size_bytes, complete=True)
        return WriteState(await self._blobs.written_bytes(digest, owner=owner), complete=False)

    async def size_bytes(self, scope: Scope, digest: str) -> int:
        """Returns the length of a blob of the scope, or raises NotFoundError BLOB_NOT_FOUND."""
        return (await self._sizes(scope, [digest]))[digest]

    async def read(
        self, scope: Scope, digest: str, *, offset: int, limit: int
    ) -> AsyncIterator[tuple[int, bytes, int]]:
        """Yields (offset, bytes, length of the whole) from an offset on; a limit of 0 means to the end."""
        if offset < 0 or limit < 0:
            raise InvalidError("RANGE_INVALID", "offset and limit are 0 or more", field="offset")
        size_bytes = await self.size_bytes(scope, digest)
        end = size_bytes if limit == 0 else min(size_bytes, offset + limit)
        following: asyncio.Task[bytes] | None = None
        try:
            while offset < end:
                data = await (following or self._blobs.read(digest, offset=offset, limit=min(READ_BYTES, end - offset)))
                after = offset + len(data)
                following = None
                if data and after < end:  # read while the caller sends
                    limit = min(READ_BYTES, end - after)
                    following = asyncio.ensure_future(self._blobs.read(digest, offset=after, limit=limit))
                yield offset, data, size_bytes
                offset = after
        finally:
            if following is not None:
                following.cancel()

    async def read_batch(self, scope: Scope, digests: Sequence[str]) -> list[tuple[str, bytes]]:
        """Returns whole small blobs in the order asked for, as many as fit in one batch; at least the first.

        Raises NotFoundError BLOB_NOT_FOUND, InvalidError BLOB_TOO_LARGE for a first one that needs a Read.
        """
        batch = list[tuple[str, bytes]]()
        total_bytes = 0
        sizes = await self._sizes(scope, digests[:FIND_AT_ONCE])
        for digest, size_bytes in sizes.items():
            if size_bytes > BATCH_BYTES and not batch:
                raise InvalidError(
                    "BLOB_TOO_LARGE", f"content {digest} is larger than 1 MiB; use Read", field="digests"
                )
            total_bytes += size_bytes
            if total_bytes > BATCH_BYTES:
                break
            batch.append((digest, await self._blobs.read(digest)))
        return batch

    async def locate(self, scope: Scope, digests: Sequence[str], *, nonce: str) -> dict[str, Location]:
        """Returns digest → place relative to the store's folder, for those that the scope may read.

        Raises ConflictError STORE_UNPROVED for who does not see that folder.
        """
        if len(digests) > FIND_AT_ONCE:
            raise InvalidError("TOO_MANY", f"ask for at most {FIND_AT_ONCE:,} digests at once", field="digests")
        root = await self._blobs.shared_root(nonce)
        visible = await self.scopes.visible(scope, [check_digest(digest) for digest in digests])
        located = dict[str, Location]()
        for digest in visible - await self._blobs.find_missing(visible):
            place = await self._blobs.locate(digest)
            located[digest] = Location(place.path.relative_to(root), place.offset, place.size_bytes)
        return located

    async def _sizes(self, scope: Scope, digests: Sequence[str]) -> dict[str, int]:
        """Returns digest → length in the order asked for, or raises NotFoundError BLOB_NOT_FOUND."""
        visible = await self.scopes.visible(scope, [check_digest(digest) for digest in digests])
        sizes = await self._blobs.sizes(visible)
        for digest in digests:
            if digest not in sizes:
                raise NotFoundError("BLOB_NOT_FOUND", f"there is no content {digest} in this scope", digest=digest)
        return {digest: sizes[digest] for digest in digests}


async def _append_all(writing: BlobWrite, pieces: AsyncIterator[tuple[int, bytes]]) -> None:
    """Appends each piece while the next one arrives."""
    appending: asyncio.Task[None] | None = None
    try:
        async for offset, data in pieces:
            if appending is not None:
                await appending
            appending = asyncio.ensure_future(writing.append(offset, data))
        if appending is not None:
            await appending
    finally:
        if appending is not None and not appending.done():
            await asyncio.wait([appending])
