"""The audit log: who did what to what; append only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    project_id: str
    detail: Mapping[str, Any]


class AuditRows(Protocol):
    """The audit log as one transaction sees it."""

    async def add(
        self,
        action: str,
        subject: str,
        *,
        actor: str = "controller",
        project_id: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Notes that the actor (``user:<id>``, ``worker:<id>``, ``controller``) did the action to the subject's id."""
        ...

    async def list(self, *, project_id: str = "", before_id: str = "", limit: int = 100) -> Sequence[AuditEntry]:
        """Returns entries, newest first."""
        ...
