"""Content for workers, in the scope of a lease that they hold."""

from typing import Any

from lodeworks.agent.worker.v1 import content_pb2, content_pb2_grpc

from lodeworks_controller.service.content import Scope
from lodeworks_controller.transport.content_calls import ContentCalls, Context


class LeaseContentServicer(ContentCalls, content_pb2_grpc.ContentServiceServicer):
    """Serves ``lodeworks.agent.worker.v1.ContentService``."""

    messages = content_pb2

    async def _scope(self, request: Any, context: Context) -> Scope:
        lease = request.scope
        return await self._content.lease_scope(self._gate.worker(context), lease.task_id, lease_epoch=lease.lease_epoch)
