"""What the collector decides on, in SQL: which blobs no scope refers to, and which of them leave."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import cast, delete, exists, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from lodeworks_controller.domain.task.state import FINAL
from lodeworks_controller.service.blob_store import Blob
from lodeworks_controller.service.collection import Usage
from lodeworks_controller.storage.database.blob import blob_refs, blobs
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id
from lodeworks_controller.storage.database.task_table import tasks
from lodeworks_controller.storage.database.upsert import insert_new

_AT_ONCE = 2_000
_PROJECT, _TASK = "project:", "task:"
_HELD = exists().where(blob_refs.c.digest == blobs.c.digest)


class SqlCollectionRows:
    """The collector's view of the blobs on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def expire(self, *, limit: int) -> int:
        """Drops references whose time is over; returns how many."""
        query = select(blob_refs.c.scope, blob_refs.c.digest).where(blob_refs.c.expires_at < self._now).limit(limit)
        rows = (await self._connection.execute(query)).all()
        for row in rows:
            every = delete(blob_refs).where(blob_refs.c.scope == row.scope, blob_refs.c.digest == row.digest)
            await self._connection.execute(every)
        return len(rows)

    async def release_ended_tasks(self, *, before: datetime, limit: int) -> int:
        """Drops what tasks refer to that ended before a moment; returns how many tasks."""
        query = (
            select(blob_refs.c.scope)
            .distinct()
            .join(tasks, tasks.c.id == cast(func.substr(blob_refs.c.scope, len(_TASK) + 1), Id))
            .where(
                blob_refs.c.scope > _TASK,
                blob_refs.c.scope < _after(_TASK),
                tasks.c.state.in_([state.value for state in FINAL]),
                tasks.c.updated_at < before,
            )
            .limit(limit)
        )
        scopes = list((await self._connection.execute(query)).scalars())
        if scopes:
            await self._connection.execute(delete(blob_refs).where(blob_refs.c.scope.in_(scopes)))
        return len(scopes)

    async def unknown(self, digests: Sequence[str]) -> set[str]:
        """Returns those that have no row yet."""
        query = select(blobs.c.digest).where(blobs.c.digest.in_(digests))
        return set(digests) - set((await self._connection.execute(query)).scalars())

    async def learn(self, sizes: Mapping[str, int]) -> None:
        """Notes blobs that the store has; their grace has not begun."""
        rows = [{"digest": digest, "size_bytes": size} for digest, size in sizes.items()]
        if rows:
            await self._connection.execute(insert_new(blobs), rows)

    async def unreferenced(self, *, first: str, last: str) -> Sequence[str]:
        """Returns unmarked blobs in a range of digests that no scope refers to."""
        query = select(blobs.c.digest).where(
            blobs.c.digest >= first, blobs.c.digest < last, blobs.c.unreferenced_at.is_(None), ~_HELD
        )
        return list((await self._connection.execute(query)).scalars())

    async def mark(self, digests: Iterable[str]) -> None:
        """Marks those to which still no scope refers: their grace begins."""
        chosen = list(digests)
        for start in range(0, len(chosen), _AT_ONCE):
            some = chosen[start : start + _AT_ONCE]
            where = (blobs.c.digest.in_(some), blobs.c.unreferenced_at.is_(None), ~_HELD)
            await self._connection.execute(update(blobs).where(*where).values(unreferenced_at=self._now))

    async def unmark(self) -> None:
        """Takes the mark from blobs that a scope refers to by now."""
        where = (blobs.c.unreferenced_at.is_not(None), blobs.c.sweep_until.is_(None), _HELD)
        await self._connection.execute(update(blobs).where(*where).values(unreferenced_at=None))

    async def claim(self, *, marked_before: datetime, until: datetime, limit: int) -> Sequence[Blob]:
        """Takes blobs whose grace is over, and those that a dead collector had claimed, for removal until a moment."""
        free = or_(blobs.c.sweep_until.is_(None), blobs.c.sweep_until < self._now)
        query = (
            select(blobs.c.digest, blobs.c.size_bytes)
            .where(blobs.c.unreferenced_at < marked_before, free, ~_HELD)
            .order_by(blobs.c.digest)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = (await self._connection.execute(query)).all()
        claimed = [Blob(row.digest, row.size_bytes) for row in rows]
        if claimed:
            chosen = blobs.c.digest.in_([blob.digest for blob in claimed])
            await self._connection.execute(update(blobs).where(chosen).values(sweep_until=until))
        return claimed

    async def confirm(self, digests: Sequence[str], *, claimed_until: datetime, until: datetime) -> Sequence[str]:
        """Renews a claim until a moment; returns those of its blobs that are still claimed by it."""
        mine = (blobs.c.digest.in_(digests), blobs.c.sweep_until == claimed_until)
        query = select(blobs.c.digest).where(*mine).with_for_update()
        found = list((await self._connection.execute(query)).scalars())
        await self._connection.execute(update(blobs).where(*mine).values(sweep_until=until))
        return found

    async def swept(self, digests: Sequence[str], *, claimed_until: datetime) -> None:
        """Forgets blobs of a claim that the store no longer has: from now on they may be stored anew."""
        mine = (blobs.c.digest.in_(digests), blobs.c.sweep_until == claimed_until)
        await self._connection.execute(delete(blobs).where(*mine))

    async def leaving(self, *, marked_before: datetime, limit: int) -> tuple[Sequence[Blob], int, int]:
        """Returns some of the blobs that a pass would remove now, the largest first; how many, and their bytes."""
        where = (blobs.c.unreferenced_at < marked_before, ~_HELD)
        total = await self._sum(*where)
        query = select(blobs.c.digest, blobs.c.size_bytes).where(*where)
        rows = await self._connection.execute(query.order_by(blobs.c.size_bytes.desc(), blobs.c.digest).limit(limit))
        return [Blob(row.digest, row.size_bytes) for row in rows.all()], total.blobs, total.size_bytes

    async def usage(self, project_ids: Sequence[str] | None) -> Mapping[str, Usage]:
        """Returns project id → what it refers to; content that two projects share counts in both."""
        query = (
            select(blob_refs.c.scope, func.count().label("number"), func.sum(blobs.c.size_bytes).label("size"))
            .join(blobs, blobs.c.digest == blob_refs.c.digest)
            .group_by(blob_refs.c.scope)
        )
        if project_ids is None:
            query = query.where(blob_refs.c.scope > _PROJECT, blob_refs.c.scope < _after(_PROJECT))
        else:
            query = query.where(blob_refs.c.scope.in_([f"{_PROJECT}{one}" for one in project_ids]))
        rows = (await self._connection.execute(query)).all()
        return {row.scope.removeprefix(_PROJECT): Usage(int(row.number), int(row.size or 0)) for row in rows}

    async def stored(self) -> tuple[Usage, Usage]:
        """Returns all that is stored, and how much of it no scope refers to."""
        return await self._sum(), await self._sum(blobs.c.unreferenced_at.is_not(None))

    async def _sum(self, *where: ColumnElement[bool]) -> Usage:
        query = select(func.count().label("number"), func.sum(blobs.c.size_bytes).label("size")).where(*where)
        row = (await self._connection.execute(query.select_from(blobs))).one()
        return Usage(int(row.number), int(row.size or 0))

    async def referenced(self, *, after: str, limit: int) -> Sequence[str]:
        """Returns digests that some scope refers to, in order, from behind the given one."""
        query = select(blob_refs.c.digest).distinct().where(blob_refs.c.digest > after)
        return list((await self._connection.execute(query.order_by(blob_refs.c.digest).limit(limit))).scalars())


def _after(prefix: str) -> str:
    """Returns the first text behind all those that begin with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
