"""The audit log: who did what to what; append only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store

_EVERYBODY: Final = 10_000


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


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted.

    Attributes:
        actor: Who acted; empty = anybody.
        action: What was done, ``task.*`` = all that begin so; empty = anything.
        subject: Id of what it was done to; empty = anything.
        since: From this moment on.
        until: Before this moment.
        oldest_first: True returns the oldest first.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None
    oldest_first: bool = False


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

    async def list(
        self, which: AuditFilter | None = None, *, project_id: str = "", before_id: str = "", limit: int = 100
    ) -> Sequence[AuditEntry]:
        """Returns entries: newest first, or from an id on in their order where the filter says so."""
        ...


class AuditService:
    """Shows the audit log to who may see it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self, principal: Principal, project: str, which: AuditFilter, *, beyond_id: str = "", limit: int = 100
    ) -> Sequence[tuple[AuditEntry, str]]:
        """Returns entries with the names of users who acted; those beyond an id in the order that is asked for."""
        async with self._store.snapshot() as tx:
            if project:
                project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            else:
                require_administrator(principal)
                project_id = ""
            users = {user.id: user.name for user in await tx.users.list(after_name="", limit=_EVERYBODY)}
            ids = {name: user_id for user_id, name in users.items()}
            if which.actor in ids:
                which = replace(which, actor=f"user:{ids[which.actor]}")
            found = await tx.audit.list(which, project_id=project_id, before_id=beyond_id, limit=limit)
            return [(entry, users.get(entry.actor.removeprefix("user:"), "")) for entry in found]
