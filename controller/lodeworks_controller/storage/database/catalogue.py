"""The installation's catalogue in SQL: ranges of ids, segments of assets, views, lineage."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from lodeworks_formats.manifest import SegmentRef
from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, bindparam, func, insert, or_, select, update

from lodeworks_controller.domain.lineage import Edge, Node
from lodeworks_controller.domain.manifest import THUMBNAILS
from lodeworks_controller.domain.view import View
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, JsonText, metadata

id_ranges = Table(
    "id_ranges",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("next_id", BigInteger, nullable=False),
)

asset_segments = Table(
    "asset_segments",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("digest", Digest, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
)

signal_segments = Table(
    "signal_segments",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("algorithm_version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
)

thumbnail_segments = Table(
    "thumbnail_segments",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
)

views = Table(
    "views",
    metadata,
    Column("key", Digest, primary_key=True),
    Column("digest", Digest, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pictures", BigInteger, nullable=False),
    Column("class_names", JsonText, nullable=False),
    Column("class_map_revision", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
)

lineage = Table(
    "lineage",
    metadata,
    Column("child_type", String(40), primary_key=True),
    Column("child_id", Id, primary_key=True),
    Column("parent_type", String(40), primary_key=True),
    Column("parent_id", Id, primary_key=True),
    Column("role", String(40), primary_key=True),
    Index(None, "parent_type", "parent_id"),
)

_DEPTH = 1_000


class SqlCatalogueRows:
    """Ranges, segments of assets and views on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def reserve(self, name: str, count: int) -> int:
        """Returns the first of so many new ids in a row; nobody else gets them."""
        mine = id_ranges.c.name == name
        first: int | None = (await self._connection.execute(select(id_ranges.c.next_id).where(mine))).scalar()
        if first is None:
            await self._connection.execute(insert(id_ranges), {"name": name, "next_id": 1 + count})
            return 1
        await self._connection.execute(update(id_ranges).where(mine).values(next_id=first + count))
        return first

    async def asset_generation(self) -> int:
        """Returns a number that grows with each new segment of assets."""
        return int((await self._connection.execute(select(func.max(asset_segments.c.sequence)))).scalar() or 0)

    async def asset_segments(self) -> Sequence[SegmentRef]:
        """Returns all segments of assets of the installation, by their ids."""
        rows = (await self._connection.execute(select(asset_segments).order_by(asset_segments.c.first_id))).all()
        return [SegmentRef("assets", row.digest, row.size_bytes, row.rows, row.first_id, row.last_id) for row in rows]

    async def add_asset_segment(self, segment: SegmentRef) -> None:
        """Notes a new segment of assets."""
        values = {
            "digest": segment.digest,
            "size_bytes": segment.size_bytes,
            "rows": segment.rows,
            "first_id": segment.first_id,
            "last_id": segment.last_id,
            "created_at": self._now,
        }
        await self._connection.execute(insert(asset_segments), values)

    async def signal_segments(self, *, algorithm_version: int) -> Sequence[SegmentRef]:
        """Returns all segments of signals of one version of the algorithms, by their ids."""
        query = select(signal_segments).where(signal_segments.c.algorithm_version == algorithm_version)
        found = (await self._connection.execute(query.order_by(signal_segments.c.first_id))).all()
        return [SegmentRef("signals", row.digest, row.size_bytes, row.rows, row.first_id, row.last_id) for row in found]

    async def add_signal_segment(self, segment: SegmentRef, *, algorithm_version: int) -> None:
        """Notes a new segment of signals; the same again is harmless."""
        await self._note(signal_segments, segment, algorithm_version=algorithm_version)

    async def thumbnail_segments(self) -> Sequence[SegmentRef]:
        """Returns all segments that say which thumbnail is whose, by their ids."""
        query = select(thumbnail_segments).order_by(thumbnail_segments.c.first_id)
        found = (await self._connection.execute(query)).all()
        return [
            SegmentRef(THUMBNAILS, row.digest, row.size_bytes, row.rows, row.first_id, row.last_id) for row in found
        ]

    async def add_thumbnail_segment(self, segment: SegmentRef) -> None:
        """Notes a new segment of thumbnails; the same again is harmless."""
        await self._note(thumbnail_segments, segment)

    async def _note(self, table: Table, segment: SegmentRef, **more: int) -> None:
        known = select(table.c.digest).where(table.c.digest == segment.digest)
        if (await self._connection.execute(known)).first() is not None:
            return
        values = {
            "digest": segment.digest,
            "size_bytes": segment.size_bytes,
            "rows": segment.rows,
            "first_id": segment.first_id,
            "last_id": segment.last_id,
            "created_at": self._now,
            **more,
        }
        await self._connection.execute(insert(table), values)

    async def view(self, key: str) -> View | None:
        """Returns the view that was built for a key."""
        row = (await self._connection.execute(select(views).where(views.c.key == key))).mappings().first()
        if row is None:
            return None
        return View(
            digest=row["digest"],
            size_bytes=row["size_bytes"],
            pictures=row["pictures"],
            class_names=tuple(row["class_names"]),
            class_map_revision=row["class_map_revision"],
        )

    async def put_view(self, key: str, view: View) -> None:
        """Notes a view; the same key twice is the same view."""
        if await self.view(key) is not None:
            return
        values = {
            "key": key,
            "digest": view.digest,
            "size_bytes": view.size_bytes,
            "pictures": view.pictures,
            "class_names": list(view.class_names),
            "class_map_revision": view.class_map_revision,
            "created_at": self._now,
        }
        await self._connection.execute(insert(views), values)


_EDGE_COLUMNS = ("child_type", "child_id", "parent_type", "parent_id", "role")
_KNOWN_EDGE = prepared(select(lineage.c.role).where(*(lineage.c[name] == bindparam(name) for name in _EDGE_COLUMNS)))
_ADD_EDGE = prepared(insert(lineage))


class SqlLineageRows:
    """What was made from what, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, edges: Iterable[Edge]) -> None:
        """Notes edges; one that is there already stays."""
        for edge in edges:
            values = {
                "child_type": edge.child.type,
                "child_id": edge.child.id,
                "parent_type": edge.parent.type,
                "parent_id": edge.parent.id,
                "role": edge.role,
            }
            if (await self._connection.execute(_KNOWN_EDGE, values)).first() is None:
                await self._connection.execute(_ADD_EDGE, values)

    async def up(self, node: Node) -> Sequence[Edge]:
        """Returns all edges that lead up from the node, through all generations."""
        return await self._walk([node], near=("child_type", "child_id"))

    async def down(self, node: Node) -> Sequence[Edge]:
        """Returns all edges that lead down from the node, through all generations."""
        return await self._walk([node], near=("parent_type", "parent_id"))

    async def _walk(self, nodes: Sequence[Node], *, near: tuple[str, str]) -> Sequence[Edge]:
        seen, edges, waiting = set(nodes), dict[Edge, None](), list(nodes)
        for _ in range(_DEPTH):
            if not waiting:
                break
            ends = or_(*((lineage.c[near[0]] == node.type) & (lineage.c[near[1]] == node.id) for node in waiting))
            found = [_to_edge(row) for row in (await self._connection.execute(select(lineage).where(ends))).mappings()]
            edges |= dict.fromkeys(found)
            far = {edge.parent if near[0] == "child_type" else edge.child for edge in found}
            waiting = sorted(far - seen)
            seen |= far
        return tuple(edges)


def _to_edge(row: Any) -> Edge:
    parent, child = Node(row["parent_type"], row["parent_id"]), Node(row["child_type"], row["child_id"])
    return Edge(parent, child, row["role"])
