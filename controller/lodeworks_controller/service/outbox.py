"""The outbox: what is to be told to others, written with the change that caused it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One notice that waits to be delivered."""

    id: str
    topic: str
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int


class OutboxRows(Protocol):
    """The outbox as one transaction sees it."""

    async def add(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Notes a message, delivered at least once after this transaction is durable."""
        ...

    async def pending(self, *, limit: int) -> Sequence[OutboxMessage]:
        """Returns undelivered messages whose time has come, oldest first."""
        ...

    async def delivered(self, message_ids: Sequence[str]) -> None:
        """Notes that these messages arrived."""
        ...

    async def postpone(self, message_id: str, *, until: datetime) -> None:
        """Notes a failed delivery and when to try again."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Removes messages delivered before the moment; returns how many."""
        ...
