"""Messages to people in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Index, String, Table, Text, delete, func, insert, select, update

from lodeworks_controller.domain.message import Message
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, metadata

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("topic", String(80), nullable=False),
    Column("text", Text, nullable=False),
    Column("project_id", Id, nullable=False),
    Column("subject", String(80), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("read_at", Instant),
    Index(None, "user_id", "id"),
    Index(None, "created_at"),
)

_FIELDS = ("id", "user_id", "topic", "text", "project_id", "subject", "created_at", "read_at")


class SqlMessageRows:
    """The messages on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def add(self, made: Sequence[Message]) -> None:
        """Stores new messages."""
        if made:
            rows = [{name: getattr(message, name) for name in _FIELDS} for message in made]
            await self._connection.execute(insert(messages), rows)

    async def list(
        self, user_id: str, *, unread: bool, project_id: str, before_id: str, limit: int
    ) -> Sequence[Message]:
        """Returns a person's messages, newest first."""
        query = select(messages).where(messages.c.user_id == user_id).order_by(messages.c.id.desc()).limit(limit)
        if unread:
            query = query.where(messages.c.read_at.is_(None))
        if project_id:
            query = query.where(messages.c.project_id == project_id)
        if before_id:
            query = query.where(messages.c.id < before_id)
        return [Message(**row) for row in (await self._connection.execute(query)).mappings()]

    async def unread(self, user_id: str) -> int:
        """Returns how many messages a person has not read."""
        query = select(func.count()).where(messages.c.user_id == user_id, messages.c.read_at.is_(None))
        return int((await self._connection.execute(query)).scalar() or 0)

    async def known(self, user_id: str, message_ids: Sequence[str]) -> set[str]:
        """Returns which of these are messages of the person."""
        query = select(messages.c.id).where(messages.c.user_id == user_id, messages.c.id.in_(message_ids))
        return set((await self._connection.execute(query)).scalars())

    async def read(self, user_id: str, message_ids: Sequence[str]) -> int:
        """Marks messages of a person as read, all when none are named; returns how many were not before."""
        mine = update(messages).where(messages.c.user_id == user_id, messages.c.read_at.is_(None))
        if message_ids:
            mine = mine.where(messages.c.id.in_(message_ids))
        return (await self._connection.execute(mine.values(read_at=self._now))).rowcount

    async def prune(self, *, before: datetime) -> int:
        """Removes messages from before the moment; returns how many."""
        return (await self._connection.execute(delete(messages).where(messages.c.created_at < before))).rowcount
