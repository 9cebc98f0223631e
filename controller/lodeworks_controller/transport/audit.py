"""What people call about the audit log."""

import json
from typing import Any

import grpc.aio
from lodeworks.api.audit.v1 import audit_pb2, audit_pb2_grpc

from lodeworks_controller.service.audit import AuditEntry, AuditFilter, AuditService
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import from_time, page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Shows the audit log."""

    def __init__(self, audit: AuditService, *, gate: Gate) -> None:
        self._audit = audit
        self._gate = gate

    async def ListAudit(self, request: audit_pb2.ListAuditRequest, context: Context) -> audit_pb2.ListAuditResponse:
        """Lists entries."""
        limit = page_size(request.page_size)
        which = AuditFilter(
            actor=request.actor,
            action=request.action,
            subject=request.subject,
            since=from_time(request.since),
            until=from_time(request.until),
            oldest_first=request.oldest_first,
        )
        found = await self._audit.list(
            await self._gate.caller(context), request.project, which, beyond_id=request.page_token, limit=limit
        )
        token = found[-1][0].id if len(found) == limit else ""
        return audit_pb2.ListAuditResponse(
            entries=[_to_entry(entry, name) for entry, name in found], next_page_token=token
        )


def _to_entry(entry: AuditEntry, actor_name: str) -> audit_pb2.AuditEntry:
    return audit_pb2.AuditEntry(
        id=entry.id,
        time=to_time(entry.at),
        actor=entry.actor,
        actor_name=actor_name,
        action=entry.action,
        subject=entry.subject,
        project_id=entry.project_id,
        detail_json=json.dumps(entry.detail, sort_keys=True, ensure_ascii=False),
    )
