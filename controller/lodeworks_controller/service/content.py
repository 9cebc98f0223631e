"""Content by sha256, and who may see which of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from lodeworks_controller.domain.identity import AgentIdentity, Principal, ProjectRole
from lodeworks_controller.domain.task.lease import check_held
from lodeworks_controller.domain.task.quota import Quota
from lodeworks_controller.errors import InvalidError, NotFoundError, PermissionDeniedError, StaleLeaseError
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store

READ_BYTES: Final = 512 * 1024
"""Bytes per piece of a read."""

BATCH_BYTES: Final = 1 << 20
"""What one batch that is read may hold together."""

PUT_BYTES: Final = 7 << 19
"""What one batch that is written may hold together; with its frame it must stay below 4 MiB, the most of a message."""

FIND_AT_ONCE: Final = 10_000
"""Digests that one FindMissing may name."""

UPLOAD_KEPT: Final = timedelta(days=7)
"""How long an upload of a person stays when nothing is made of it; asking for it again begins anew."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: its sha256 in hex and its length."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a blob lie: a range of a file. Nobody outside the store builds a path from a digest."""

    path: Path
    offset: int
    size_bytes: int


class BlobWrite(Protocol):
    """One blob being written, from where an earlier try ended."""

    @property
    def committed_bytes(self) -> int:
        """How much is there."""
        ...

    async def append(self, offset: int, data: bytes) -> None:
        """Adds bytes; what is there already is skipped, bytes before the offset that are missing raise GapError.

        Raises ExhaustedError DISK_FULL, InvalidError BLOB_TOO_LONG.
        """
        ...

    async def commit(self) -> Blob:
        """Checks the whole and puts it in place, durably; raises InvalidError DIGEST_MISMATCH and forgets it."""
        ...


class BlobStore(Protocol):
    """Keeps content by sha256. What it answered is durable."""

    async def find_missing(self, digests: Iterable[str]) -> set[str]:
        """Returns those that are not stored."""
        ...

    async def locate(self, digest: str) -> Location:
        """Returns where a blob lies in a file of this machine, or raises NotFoundError BLOB_NOT_FOUND.

        The file may be a copy that the store made for this; it stays for as long as reading it takes.
        """
        ...

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Returns digest → length of those that are stored."""
        ...

    async def shared_root(self, nonce: str) -> Path:
        """Returns the store's folder to who knows what its file ``nonce`` holds, so sees the folder as well.

        Raises ConflictError STORE_UNPROVED, also where the store is no folder.
        """
        ...

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes."""
        ...

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> list[Blob]:
        """Stores several at once, with one sync: all of them, or none.

        Given digests are compared first: InvalidError DIGEST_MISMATCH. Raises ExhaustedError DISK_FULL.
        """
        ...

    async def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Stores a file; moving needs no second copy where the store is on the same filesystem."""
        ...

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns bytes from an offset, at most limit (0 = to the end), or raises NotFoundError BLOB_NOT_FOUND."""
        ...

    def begin_write(self, digest: str, *, size_bytes: int, owner: str) -> AbstractAsyncContextManager[BlobWrite]:
        """Goes on with the owner's write of a blob, or begins it; one that is left uncommitted waits to go on.

        A second write of the same owner and digest takes over from the first, which then fails with
        ConflictError WRITE_SUPERSEDED.
        """
        ...

    async def written_bytes(self, digest: str, *, owner: str) -> int:
        """Returns how much of an owner's unfinished write is there; 0 when there is none."""
        ...

    def contents(self) -> AsyncIterator[Sequence[Blob]]:
        """Yields all that is stored, some at a time; what comes or goes meanwhile may be told or not."""
        ...

    async def delete(self, digests: Iterable[str]) -> None:
        """Removes blobs; those that are not there count as removed. For the collector, which alone knows when."""
        ...

    async def compact(self) -> None:
        """Gives back the room that removed blobs still take, where it does not come back at once."""
        ...

    async def prune_writes(self, *, before: datetime) -> int:
        """Removes unfinished writes that nobody went on with since a moment; returns how many."""
        ...


class BlobRows(Protocol):
    """Which scopes refer to which blobs, as one transaction sees it.

    A scope is ``project:<id>``, ``task:<id>``, ``device:<id>`` or ``log:<task>``. A blob that no scope refers to is
    collected after a grace.
    """

    async def reference(self, scope: str, digests: Iterable[str], *, until: datetime | None = None) -> None:
        """Notes that a scope refers to the blobs, for good or until a moment; never shortens what holds already.

        Raises UnavailableError BLOB_LEAVING for one that is just being removed.
        """
        ...

    async def expiring(self, scope: str, digests: Iterable[str], *, before: datetime) -> set[str]:
        """Returns those that the scope refers to only until a moment before the given one."""
        ...

    async def record(self, sizes: Mapping[str, int]) -> None:
        """Notes how long stored blobs are."""
        ...

    async def marked(self, digests: Iterable[str]) -> set[str]:
        """Returns those that the collector has marked or is removing."""
        ...

    async def spare(self, digests: Iterable[str]) -> set[str]:
        """Takes the collector's mark from blobs, so that their grace begins anew; returns those being removed now."""
        ...

    async def referenced(self, scope: str, digests: Iterable[str]) -> set[str]:
        """Returns those of the digests that the scope refers to."""
        ...

    async def scope_bytes(self, scope: str) -> int:
        """Returns how much content a scope refers to."""
        ...

    async def release(self, scope: str, digests: Iterable[str] | None = None) -> None:
        """Drops references of a scope; all of them when no digests are given."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """What a project's quota leaves for more content."""

    name: str
    quota: Quota
    used_bytes: int

    def check(self, more_bytes: int) -> None:
        """Raises ExhaustedError QUOTA_BLOB_BYTES where there is none for so much."""
        self.quota.check_blobs(self.name, used_bytes=self.used_bytes, more_bytes=more_bytes)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one caller may touch: reads look in each of the scopes, writes belong to one (None = may not write)."""

    readable: tuple[str, ...]
    writable: str | None
    kept: timedelta | None = None
    """How long what is written stays when nothing is made of it; None = as long as the scope."""
    room: Room | None = None
    """None = as much as there is."""


def project_scope(project_id: str) -> str:
    """Returns the scope of a project's content."""
    return f"project:{project_id}"


def task_scope(task_id: str) -> str:
    """Returns the scope of a task's inputs and outputs."""
    return f"task:{task_id}"


def device_scope(device_id: str) -> Scope:
    """Returns what a device may touch: it reads what its document names (``device:<id>``) and writes nothing."""
    return Scope(readable=(f"device:{device_id}",), writable=None)


@dataclass(frozen=True, slots=True)
class WriteState:
    """How far a write has come."""

    committed_bytes: int
    complete: bool


class ContentService:
    """Moves content for callers whose scope was already found."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    async def people_scope(self, principal: Principal, project: str) -> Scope:
        """Returns what a person may touch in a project: viewers read, editors write.

        Raises NotFoundError PROJECT_NOT_FOUND, also for who is no member.
        """
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            role = await tx.projects.role(found.id, principal.user_id)
            quota = (await tx.quotas.all()).of_project(found.id)
            used = await tx.blobs.scope_bytes(project_scope(found.id)) if quota.blob_bytes is not None else 0
        writes = principal.is_administrator or (role is not None and role.covers(ProjectRole.EDITOR))
        own = project_scope(found.id)
        return Scope(
            readable=(own,), writable=own if writes else None, kept=UPLOAD_KEPT, room=Room(found.name, quota, used)
        )

    async def lease_scope(self, worker: AgentIdentity, task_id: str, *, lease_epoch: int) -> Scope:
        """Returns what a worker may touch for a lease it holds: inputs and its project's content; writes its outputs.

        Raises StaleLeaseError.
        """
        async with self._store.snapshot() as tx:
            try:
                task = await tx.tasks.get(task_id)
            except NotFoundError as error:
                raise StaleLeaseError(task_id, lease_epoch=lease_epoch) from error
        check_held(task, worker_id=worker.id, lease_epoch=lease_epoch)
        own = task_scope(task_id)
        return Scope(readable=(own, project_scope(task.project_id)), writable=own)

    async def find_missing(self, scope: Scope, digests: Sequence[str]) -> list[str]:
        """Returns those that must be sent: not stored, or not the scope's, as a digest is no key to others' content."""
        if len(digests) > FIND_AT_ONCE:
            raise InvalidError("TOO_MANY", f"ask for at most {FIND_AT_ONCE:,} digests at once", field="digests")
        visible = await self._visible(scope, [check_digest(digest) for digest in digests])
        absent = await self._blobs.find_missing(visible)
        await self._renew(scope, visible - absent)
        return [digest for digest in dict.fromkeys(digests) if digest not in visible or digest in absent]

    async def put(self, scope: Scope, contents: Sequence[tuple[str, bytes]]) -> None:
        """Stores small blobs, all or none, each under the digest that the caller says it has."""
        together = sum(len(data) for _, data in contents)
        _with_room(scope, together)
        if together > PUT_BYTES:
            raise InvalidError(
                "BATCH_TOO_LARGE", "a batch holds at most 3.5 MiB; send the rest in another", field="blobs"
            )
        digests = [check_digest(digest) for digest, _ in contents]
        await self._blobs.put_many([data for _, data in contents], digests=digests)
        await self._refer(scope, {digest: len(data) for digest, data in contents})

    async def write(
        self, scope: Scope, digest: str, *, size_bytes: int, pieces: AsyncIterator[tuple[int, bytes]]
    ) -> WriteState:
        """Takes the pieces (offset, bytes) of one blob; a whole one is checked and in place when this returns."""
        owner = _with_room(scope, size_bytes)
        check_digest(digest)
        if size_bytes < 0:
            raise InvalidError("SIZE_INVALID", "a blob has a size of 0 bytes or more", field="size_bytes")
        async with self._blobs.begin_write(digest, size_bytes=size_bytes, owner=owner) as writing:
            await _append_all(writing, pieces)
            if writing.committed_bytes < size_bytes:
                return WriteState(writing.committed_bytes, complete=False)
            await writing.commit()
        await self._refer(scope, {digest: size_bytes})
        return WriteState(size_bytes, complete=True)

    async def write_state(self, scope: Scope, digest: str) -> WriteState:
        """Returns how far the scope's write of a blob has come."""
        owner = _writable(scope)
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
        visible = await self._visible(scope, [check_digest(digest) for digest in digests])
        located = dict[str, Location]()
        for digest in visible - await self._blobs.find_missing(visible):
            place = await self._blobs.locate(digest)
            located[digest] = Location(place.path.relative_to(root), place.offset, place.size_bytes)
        return located

    async def _visible(self, scope: Scope, digests: Sequence[str]) -> set[str]:
        visible = set[str]()
        async with self._store.snapshot() as tx:
            for readable in scope.readable:
                visible |= await tx.blobs.referenced(readable, digests)
        return visible

    async def _sizes(self, scope: Scope, digests: Sequence[str]) -> dict[str, int]:
        """Returns digest → length in the order asked for, or raises NotFoundError BLOB_NOT_FOUND."""
        visible = await self._visible(scope, [check_digest(digest) for digest in digests])
        sizes = await self._blobs.sizes(visible)
        for digest in digests:
            if digest not in sizes:
                raise NotFoundError("BLOB_NOT_FOUND", f"there is no content {digest} in this scope", digest=digest)
        return {digest: sizes[digest] for digest in digests}

    async def _refer(self, scope: Scope, sizes: Mapping[str, int]) -> None:
        async with self._store.transaction() as tx:
            until = None if scope.kept is None else tx.now() + scope.kept
            await tx.blobs.record(sizes)
            await tx.blobs.reference(_writable(scope), sizes, until=until)

    async def _renew(self, scope: Scope, digests: Collection[str]) -> None:
        """Lets what the caller was just told to be present stay as long as if it had been sent now."""
        if scope.kept is None or scope.writable is None or not digests:
            return
        async with self._store.snapshot() as tx:
            soon = await tx.blobs.expiring(scope.writable, digests, before=tx.now() + scope.kept / 2)
        if soon:
            async with self._store.transaction() as tx:
                await tx.blobs.reference(scope.writable, soon, until=tx.now() + scope.kept)


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


def check_digest(digest: str) -> str:
    """Returns the digest if it is one: 64 lower-case hex digits."""
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidError("DIGEST_INVALID", "a digest is a sha256 in 64 lower-case hex digits", field="digest")
    return digest


def _with_room(scope: Scope, more_bytes: int) -> str:
    owner = _writable(scope)
    if scope.room is not None:
        scope.room.check(more_bytes)
    return owner


def _writable(scope: Scope) -> str:
    if scope.writable is None:
        raise PermissionDeniedError("ROLE_TOO_LOW", "this scope may be read only; ask an owner for the role of editor")
    return scope.writable
