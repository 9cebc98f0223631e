"""The outbox: what is to be told to others, written with the change that caused it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One event that waits to be handed on.

    Attributes:
        id: Identifies it for ever.
        topic: What happened: ``task.succeeded``, ``version.ready``.
        payload: More about it.
        created_at: When it happened.
        subject: What it happened to: the events of one subject stay in order.
        project_id: Whose; empty for what concerns the installation.
    """

    id: str
    topic: str
    payload: Mapping[str, Any]
    created_at: datetime
    subject: str = ""
    project_id: str = ""


class OutboxRows(Protocol):
    """The outbox as one transaction sees it."""

    async def add(self, topic: str, payload: Mapping[str, Any], *, subject: str = "", project_id: str = "") -> None:
        """Notes an event, handed on once this transaction is durable."""
        ...

    async def pending(self, *, limit: int) -> Sequence[OutboxMessage]:
        """Returns events that were not handed on, oldest first."""
        ...

    async def delivered(self, message_ids: Sequence[str]) -> None:
        """Notes that these events were handed on."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Removes events handed on before the moment; returns how many."""
        ...

    async def oldest(self) -> datetime | None:
        """Returns when the oldest event that waits happened; None when none waits."""
        ...
