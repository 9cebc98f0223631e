"""The audit log in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import DDL, Column, Index, String, Table, event, insert, select

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.service.audit import AuditEntry, AuditFilter
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("action", String(80), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("project_id", String(26), nullable=False),
    Column("detail", JsonText, nullable=False),
    Index(None, "project_id", "id"),
)

_REFUSAL = "the audit log is append only"
APPEND_ONLY = {
    "sqlite": (
        f"CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
        f"CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    ),
    "postgresql": (
        f"""
        CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$
        """,
        """
        CREATE TRIGGER audit_keeps BEFORE UPDATE OR DELETE ON audit
        FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()
        """,
        "CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit EXECUTE FUNCTION refuse_audit_change()",
    ),
}
"""What makes the database itself refuse to change or remove an entry, by dialect."""

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        _ddl = DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        event.listen(audit, "after_create", _ddl)

_INSERT = prepared(insert(audit))


class SqlAuditRows:
    """The audit log on one connection."""

    def __init__(self, connection: Connection, *, ids: Ids, now: datetime) -> None:
        self._connection = connection
        self._ids = ids
        self._now = now

    async def add(
        self,
        action: str,
        subject: str,
        *,
        actor: str = "controller",
        project_id: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Notes that the actor did the action to the subject."""
        row = {
            "id": self._ids(),
            "at": self._now,
            "actor": actor,
            "action": action,
            "subject": subject,
            "project_id": project_id,
            "detail": dict(detail or {}),
        }
        await self._connection.execute(_INSERT, row)

    async def list(
        self, which: AuditFilter | None = None, *, project_id: str = "", before_id: str = "", limit: int = 100
    ) -> Sequence[AuditEntry]:
        """Returns entries: newest first, or from an id on in their order where the filter says so."""
        which = which or AuditFilter()
        query = select(audit).limit(limit)
        if which.oldest_first:
            query = query.order_by(audit.c.id).where(audit.c.id > before_id)
        else:
            query = query.order_by(audit.c.id.desc())
            query = query.where(audit.c.id < before_id) if before_id else query
        if project_id:
            query = query.where(audit.c.project_id == project_id)
        if which.actor:
            query = query.where(audit.c.actor == which.actor)
        if which.action.endswith("*"):
            query = query.where(audit.c.action.startswith(which.action[:-1], autoescape=True))
        elif which.action:
            query = query.where(audit.c.action == which.action)
        if which.subject:
            query = query.where(audit.c.subject == which.subject)
        if which.since is not None:
            query = query.where(audit.c.at >= which.since)
        if which.until is not None:
            query = query.where(audit.c.at < which.until)
        return [AuditEntry(**row) for row in (await self._connection.execute(query)).mappings()]
