"""References of scopes to blobs, in SQL."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from sqlalchemy import Column, Index, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert

from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Instant, metadata

_AT_ONCE = 2_000

blob_refs = Table(
    "blob_refs",
    metadata,
    Column("scope", String(40), primary_key=True),
    Column("digest", Digest, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)


class SqlBlobRows:
    """The references on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def reference(self, scope: str, digests: Iterable[str]) -> None:
        """Notes that a scope refers to the blobs; harmless when it does already."""
        statement = insert(blob_refs).on_conflict_do_nothing()
        for some in _batches(digests):
            rows = [{"scope": scope, "digest": digest, "created_at": self._now} for digest in some]
            await self._connection.execute(statement, rows)

    async def referenced(self, scope: str, digests: Iterable[str]) -> set[str]:
        """Returns those of the digests that the scope refers to."""
        found = set[str]()
        for some in _batches(digests):
            query = select(blob_refs.c.digest).where(blob_refs.c.scope == scope, blob_refs.c.digest.in_(some))
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def release(self, scope: str, digests: Iterable[str] | None = None) -> None:
        """Drops references of a scope; all of them when no digests are given."""
        every = delete(blob_refs).where(blob_refs.c.scope == scope)
        if digests is None:
            await self._connection.execute(every)
            return
        for some in _batches(digests):
            await self._connection.execute(every.where(blob_refs.c.digest.in_(some)))


def _batches(digests: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(dict.fromkeys(digests))
    while some := list(islice(iterator, _AT_ONCE)):
        yield some
