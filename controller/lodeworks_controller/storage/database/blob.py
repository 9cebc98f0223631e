"""References of scopes to blobs, and what the collector knows of each blob, in SQL."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy import BigInteger, Column, Index, String, Table, delete, func, select, update

from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Instant, metadata
from lodeworks_controller.storage.database.upsert import insert_new

_AT_ONCE = 2_000

blob_refs = Table(
    "blob_refs",
    metadata,
    Column("scope", String(40), primary_key=True),
    Column("digest", Digest, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),  # NULL: it holds until it is released
    Index(None, "digest"),
    Index(None, "expires_at"),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("unreferenced_at", Instant),  # when the collector first found that no scope refers to it
    Column("sweep_until", Instant),  # being removed: who wants it waits until the row is gone
    Index(None, "unreferenced_at"),
    sqlite_with_rowid=False,
)


class SqlBlobRows:
    """The references on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def reference(self, scope: str, digests: Iterable[str], *, until: datetime | None = None) -> None:
        """Notes that a scope refers to the blobs, for good or until a moment; never shortens what holds already."""
        for some in _batches(digests):
            rows = [{"scope": scope, "digest": digest, "created_at": self._now, "expires_at": until} for digest in some]
            await self._connection.execute(insert_new(blob_refs), rows)
            held = (blob_refs.c.scope == scope, blob_refs.c.digest.in_(_padded(some)))
            shorter = blob_refs.c.expires_at.is_not(None) if until is None else blob_refs.c.expires_at < until
            await self._connection.execute(update(blob_refs).where(*held, shorter).values(expires_at=until))
            if leaving := await self.spare(some):
                raise _leaving(leaving)

    async def referenced(self, scope: str, digests: Iterable[str]) -> set[str]:
        """Returns those of the digests that the scope refers to."""
        found = set[str]()
        for some in _batches(digests):
            query = select(blob_refs.c.digest).where(blob_refs.c.scope == scope, blob_refs.c.digest.in_(_padded(some)))
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def expiring(self, scope: str, digests: Iterable[str], *, before: datetime) -> set[str]:
        """Returns those that the scope refers to only until a moment before the given one."""
        found = set[str]()
        for some in _batches(digests):
            query = select(blob_refs.c.digest).where(
                blob_refs.c.scope == scope, blob_refs.c.digest.in_(_padded(some)), blob_refs.c.expires_at < before
            )
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def scope_bytes(self, scope: str) -> int:
        """Returns how much content a scope refers to."""
        query = (
            select(func.coalesce(func.sum(blobs.c.size_bytes), 0))
            .select_from(blob_refs.join(blobs, blobs.c.digest == blob_refs.c.digest))
            .where(blob_refs.c.scope == scope)
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def release(self, scope: str, digests: Iterable[str] | None = None) -> None:
        """Drops references of a scope; all of them when no digests are given."""
        every = delete(blob_refs).where(blob_refs.c.scope == scope)
        if digests is None:
            await self._connection.execute(every)
            return
        for some in _batches(digests):
            await self._connection.execute(every.where(blob_refs.c.digest.in_(_padded(some))))

    async def record(self, sizes: Mapping[str, int]) -> None:
        """Notes how long stored blobs are."""
        for some in _batches(sizes):
            rows = [{"digest": digest, "size_bytes": sizes[digest]} for digest in some]
            await self._connection.execute(insert_new(blobs), rows)

    async def marked(self, digests: Iterable[str]) -> set[str]:
        """Returns those that the collector has marked or is removing."""
        found = set[str]()
        for some in _batches(digests):
            query = select(blobs.c.digest).where(
                blobs.c.digest.in_(_padded(some)), blobs.c.unreferenced_at.is_not(None)
            )
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def spare(self, digests: Iterable[str]) -> set[str]:
        """Takes the collector's mark from blobs, so that their grace begins anew; returns those being removed now."""
        leaving = set[str]()
        for some in _batches(digests):
            marked = (blobs.c.digest.in_(_padded(some)), blobs.c.unreferenced_at.is_not(None))
            # The row is locked until the commit: the collector's claim comes before or after, never between.
            await self._connection.execute(
                update(blobs).where(*marked, blobs.c.sweep_until.is_(None)).values(unreferenced_at=None)
            )
            query = select(blobs.c.digest).where(*marked, blobs.c.sweep_until.is_not(None))
            leaving.update((await self._connection.execute(query)).scalars())
        return leaving


def _batches(digests: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(dict.fromkeys(digests))
    while some := list(islice(iterator, _AT_ONCE)):
        yield some


def _padded(digests: list[str]) -> list[str]:
    """Returns digests, the last one repeated up to a power of two: each length is a statement that the driver keeps."""
    room = 1 << max(0, len(digests) - 1).bit_length()
    return digests + digests[-1:] * (room - len(digests))


def _leaving(digests: Iterable[str]) -> UnavailableError:
    one = min(digests)
    return UnavailableError("BLOB_LEAVING", f"content {one} is just being removed; send it again", digest=one)
