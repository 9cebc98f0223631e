"""The audit log: who did what to what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.audit.v1 import audit_pb2 as pb
from lodeworks.api.audit.v1.audit_pb2_grpc import AuditServiceStub
from lodeworks.connection import AsyncConnection
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

_OVERLAP_S = 10
_LOOK_S = 1.0


class AsyncAudit:
    """The audit log of a project, or of the whole installation.

    Args:
        connection: Where it lives.
        project: Id of the project; empty = the whole installation.
    """

    def __init__(self, connection: AsyncConnection, project: str = "") -> None:
        self._connection = connection
        self._project = project

    async def list(
        self,
        *,
        actor: str = "",
        action: str = "",
        subject: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[pb.AuditEntry]:
        """Yields entries, newest first.

        Args:
            actor: Name of a user, or user:<id>, worker:<id>, device:<id>, controller.
            action: What was done, task.* for all that begin so.
            subject: Id of what it was done to.
            since: From this moment on.
            until: Before this moment.
        """
        request = self._request(actor=actor, action=action, subject=subject, since=since)
        if until is not None:
            request.until.FromDatetime(until)
        async for entry in pages(self._connection, AuditServiceStub, "ListAudit", request, items="entries"):
            yield entry

    async def follow(
        self, *, actor: str = "", action: str = "", subject: str = "", since: datetime
    ) -> AsyncIterator[pb.AuditEntry]:
        """Yields entries from a moment on as they come, oldest first, for ever; each once."""
        request = self._request(actor=actor, action=action, subject=subject, since=since)
        request.oldest_first = True
        seen: dict[str, int] = {}
        while True:
            request.page_token = ""
            newest = request.since.seconds
            async for entry in pages(self._connection, AuditServiceStub, "ListAudit", request, items="entries"):
                newest = max(newest, entry.time.seconds)
                if entry.id not in seen:
                    seen[entry.id] = entry.time.seconds
                    yield entry
            # Controllers beside each other commit in another order than their clocks say: the last seconds are read
            # again.
            if newest - _OVERLAP_S > request.since.seconds:
                request.since.seconds, request.since.nanos = newest - _OVERLAP_S, 0
            seen = {entry_id: at for entry_id, at in seen.items() if at >= request.since.seconds}
            await self._connection.sleep(_LOOK_S)

    def _request(self, *, actor: str, action: str, subject: str, since: datetime | None) -> pb.ListAuditRequest:
        request = pb.ListAuditRequest(
            project=self._project, actor=actor, action=action, subject=subject, page_size=1_000
        )
        if since is not None:
            request.since.FromDatetime(since)
        return request
