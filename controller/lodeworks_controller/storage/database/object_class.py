"""Raw classes of the installation and class maps of projects in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Table, insert, select

from lodeworks_controller.domain.object_class import ClassMap, ObjectClass, RawClass
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Instant, JsonText, metadata

raw_classes = Table(
    "raw_classes",
    metadata,
    Column("rid", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(400), nullable=False, unique=True),
    Column("folded", String(400), nullable=False, index=True),
)

class_maps = Table(
    "class_maps",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("body", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False),
)

_AT_ONCE = 500


class SqlClassRows:
    """Raw classes and class maps on one connection."""

    def __init__(self, connection: Connection, *, now: Any) -> None:
        self._connection = connection
        self._now = now

    async def get(self, project_id: str, *, revision: int | None = None) -> ClassMap:
        """Returns the class map at a revision, by default the newest; empty with revision 0 before the first."""
        query = select(class_maps).where(class_maps.c.project_id == project_id)
        if revision is not None:
            query = query.where(class_maps.c.revision == revision)
        query = query.order_by(class_maps.c.revision.desc()).limit(1)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None and revision:
            message = f"the class map has no revision {revision}; leave it out for the newest"
            raise NotFoundError("REVISION_NOT_FOUND", message, revision=revision)
        return ClassMap(project_id, 0) if row is None else _to_map(row)

    async def add(self, class_map: ClassMap) -> None:
        """Stores a new revision."""
        body = {
            "classes": [[entry.id, entry.name, list(entry.aliases)] for entry in class_map.classes],
            "ignored": list(class_map.ignored),
        }
        values = {
            "project_id": class_map.project_id,
            "revision": class_map.revision,
            "body": body,
            "created_at": self._now,
        }
        await self._connection.execute(insert(class_maps), values)

    async def intern(self, names: Iterable[str]) -> dict[str, int]:
        """Returns exact name → rid, giving numbers to names that are new."""
        wanted = sorted(set(names))
        known = {row.name: row.rid for row in await self._select(raw_classes.c.name, wanted)}
        fresh = [name for name in wanted if name not in known]
        if fresh:
            highest = select(raw_classes.c.rid).order_by(raw_classes.c.rid.desc()).limit(1)
            last = (await self._connection.execute(highest)).scalar() or 0
            rows = [{"rid": last + place, "name": name, "folded": fold(name)} for place, name in enumerate(fresh, 1)]
            await self._connection.execute(insert(raw_classes), rows)
            known |= {row["name"]: row["rid"] for row in rows}
        return known

    async def raw(self, folded: Iterable[str]) -> Sequence[RawClass]:
        """Returns the raw classes whose names compare equal to one of these."""
        rows = await self._select(raw_classes.c.folded, sorted(set(folded)))
        return [RawClass(row.rid, row.name) for row in rows]

    async def named(self, rids: Iterable[int]) -> Sequence[RawClass]:
        """Returns the raw classes with these numbers."""
        rows = await self._select(raw_classes.c.rid, sorted(set(rids)))
        return [RawClass(row.rid, row.name) for row in rows]

    async def _select(self, column: Any, values: Sequence[Any]) -> Sequence[Any]:
        found: list[Any] = []
        for start in range(0, len(values), _AT_ONCE):
            query = select(raw_classes).where(column.in_(values[start : start + _AT_ONCE])).order_by(raw_classes.c.rid)
            found.extend((await self._connection.execute(query)).all())
        return found


def _to_map(row: Any) -> ClassMap:
    body = row["body"]
    classes = tuple(ObjectClass(id_, name, tuple(aliases)) for id_, name, aliases in body["classes"])
    return ClassMap(row["project_id"], row["revision"], classes, tuple(body["ignored"]))
