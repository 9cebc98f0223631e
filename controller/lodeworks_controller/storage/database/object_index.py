"""Where blobs lie in an object store, in SQL: as objects of their own, or as ranges of packs."""

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Column, Index, String, Table, delete, func, insert, select, update

from lodeworks_controller.storage.blobs.placement import Pack, Placed
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Id, metadata
from lodeworks_controller.storage.database.upsert import insert_new

_AT_ONCE = 2_000

object_blobs = Table(
    "object_blobs",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("pack", String(26), nullable=False),  # empty: an object of its own
    Column("start_bytes", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index(None, "pack", "start_bytes"),
)

object_packs = Table(
    "object_packs", metadata, Column("id", Id, primary_key=True), Column("size_bytes", BigInteger, nullable=False)
)


class SqlObjectRows:
    """The index on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, digests: Iterable[str]) -> dict[str, Placed]:
        """Returns digest → where it lies, for those that are stored."""
        chosen = list(dict.fromkeys(digests))
        found = dict[str, Placed]()
        for start in range(0, len(chosen), _AT_ONCE):
            query = select(object_blobs).where(object_blobs.c.digest.in_(chosen[start : start + _AT_ONCE]))
            for row in (await self._connection.execute(query)).all():
                found[row.digest] = Placed(row.digest, row.pack, row.start_bytes, row.size_bytes)
        return found

    async def put(self, blobs: Sequence[Placed], *, pack: Pack | None = None) -> None:
        """Notes where blobs lie; one that lies somewhere already stays there."""
        if pack is not None:
            await self._connection.execute(insert(object_packs), {"id": pack.id, "size_bytes": pack.size_bytes})
        rows = [
            {"digest": one.digest, "pack": one.pack, "start_bytes": one.start_bytes, "size_bytes": one.size_bytes}
            for one in blobs
        ]
        if rows:
            await self._connection.execute(insert_new(object_blobs), rows)

    async def remove(self, digests: Sequence[str]) -> Sequence[Placed]:
        """Forgets blobs; returns where they lay."""
        gone = list((await self.find(digests)).values())
        await self._connection.execute(delete(object_blobs).where(object_blobs.c.digest.in_(list(digests))))
        return gone

    async def page(self, *, after: str, limit: int) -> Sequence[Placed]:
        """Returns stored blobs in the order of their digests."""
        query = select(object_blobs).where(object_blobs.c.digest > after).order_by(object_blobs.c.digest).limit(limit)
        rows = (await self._connection.execute(query)).all()
        return [Placed(row.digest, row.pack, row.start_bytes, row.size_bytes) for row in rows]

    async def packs(self) -> Sequence[Pack]:
        """Returns the packs, each with the bytes in it that still count."""
        live = (
            select(object_blobs.c.pack, func.sum(object_blobs.c.size_bytes).label("live"))
            .where(object_blobs.c.pack != "")
            .group_by(object_blobs.c.pack)
            .subquery()
        )
        joined = object_packs.outerjoin(live, live.c.pack == object_packs.c.id)
        query = select(object_packs.c.id, object_packs.c.size_bytes, live.c.live).select_from(joined)
        rows = (await self._connection.execute(query.order_by(object_packs.c.id))).all()
        return [Pack(row.id, row.size_bytes, int(row.live or 0)) for row in rows]

    async def in_pack(self, pack_id: str) -> Sequence[Placed]:
        """Returns the blobs of a pack in their order."""
        query = select(object_blobs).where(object_blobs.c.pack == pack_id).order_by(object_blobs.c.start_bytes)
        rows = (await self._connection.execute(query)).all()
        return [Placed(row.digest, row.pack, row.start_bytes, row.size_bytes) for row in rows]

    async def move(self, blobs: Sequence[tuple[Placed, Placed]], *, pack: Pack, emptied: Sequence[str]) -> None:
        """Moves blobs (from, to) that still lie where they lay into a new pack, and forgets emptied ones."""
        await self._connection.execute(insert(object_packs), {"id": pack.id, "size_bytes": pack.size_bytes})
        for old, new in blobs:
            there = (object_blobs.c.digest == old.digest, object_blobs.c.pack == old.pack)
            moved = update(object_blobs).where(*there).values(pack=new.pack, start_bytes=new.start_bytes)
            await self._connection.execute(moved)
        await self.forget(emptied)

    async def clear(self) -> None:
        """Forgets everything: the content is elsewhere now."""
        for table in (object_blobs, object_packs):
            await self._connection.execute(delete(table))

    async def forget(self, packs: Sequence[str]) -> None:
        """Forgets packs in which nothing counts any more."""
        used = select(object_blobs.c.pack).where(object_blobs.c.pack.in_(list(packs)))
        chosen = (object_packs.c.id.in_(list(packs)), object_packs.c.id.not_in(used))
        await self._connection.execute(delete(object_packs).where(*chosen))
