"""Content for workers, in the scope of a lease that they hold."""

from typing import Any

from lodeworks.agent.worker.v1 import content_pb2, content_pb2_grpc

from lodeworks_controller.service.content_scope import Scope
from lodeworks_controller.transport.content_calls import ContentCalls, Context


class LeaseContentServicer(ContentCalls, content_pb2_grpc.ContentServiceServicer):
    """Serves ``lodeworks.agent.worker.v1.ContentService``."""

    messages = content_pb2

    async def _scope(self, request: Any, context: Context) -> Scope:
        lease = request.scope
        return await self._content.scopes.of_lease(
            self._gate.worker(context), lease.task_id, lease_epoch=lease.lease_epoch
        )

    async def Locate(self, request: content_pb2.LocateRequest, context: Context) -> content_pb2.LocateResponse:
        """Tells where blobs lie in the store's folder, for a worker that sees it too."""
        scope = await self._scope(request, context)
        located = await self._content.locate(scope, request.digests, nonce=request.nonce)
        return content_pb2.LocateResponse(
            blobs=[
                content_pb2.LocatedBlob(
                    digest=digest, path=str(place.path), offset=place.offset, size_bytes=place.size_bytes
                )
                for digest, place in located.items()
            ]
        )
