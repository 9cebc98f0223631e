"""Messages to people, as they read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.message import Message
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.store import Store


class MessageRows(Protocol):
    """The messages as one transaction sees them. No method commits."""

    async def add(self, made: Sequence[Message]) -> None:
        """Stores new messages."""
        ...

    async def list(
        self, user_id: str, *, unread: bool, project_id: str, before_id: str, limit: int
    ) -> Sequence[Message]:
        """Returns a person's messages, newest first."""
        ...

    async def unread(self, user_id: str) -> int:
        """Returns how many messages a person has not read."""
        ...

    async def known(self, user_id: str, message_ids: Sequence[str]) -> set[str]:
        """Returns which of these are messages of the person."""
        ...

    async def read(self, user_id: str, message_ids: Sequence[str]) -> int:
        """Marks messages of a person as read, all when none are named; returns how many were not before."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Removes messages from before the moment; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Inbox:
    """A page of messages, and how many are unread on all pages."""

    messages: Sequence[Message]
    unread: int


class MessageService:
    """Shows people their messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self,
        principal: Principal,
        *,
        unread: bool = False,
        project_id: str = "",
        before_id: str = "",
        limit: int = 100,
    ) -> Inbox:
        """Returns the caller's messages, newest first."""
        async with self._store.snapshot() as tx:
            found = await tx.messages.list(
                principal.user_id, unread=unread, project_id=project_id, before_id=before_id, limit=limit
            )
            return Inbox(found, await tx.messages.unread(principal.user_id))

    async def read(self, principal: Principal, message_ids: Sequence[str] = ()) -> int:
        """Marks messages of the caller as read, all when none are named; returns how many were not before."""
        async with self._store.transaction() as tx:
            unknown = set(message_ids) - await tx.messages.known(principal.user_id, message_ids) if message_ids else ()
            for message_id in sorted(unknown):
                raise NotFoundError("MESSAGE_NOT_FOUND", f"you have no message {message_id}; see `lode message ls`")
            return await tx.messages.read(principal.user_id, message_ids)
