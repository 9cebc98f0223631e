"""Content for people, in the scope of a project."""

from typing import Any

from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc

from lodeworks_controller.service.content_scope import Scope
from lodeworks_controller.transport.content_calls import ContentCalls, Context


class ContentServicer(ContentCalls, content_pb2_grpc.ContentServiceServicer):
    """Serves ``lodeworks.api.content.v1.ContentService``."""

    messages = content_pb2

    async def _scope(self, request: Any, context: Context) -> Scope:
        return await self._content.scopes.of_person(await self._gate.caller(context), request.scope.project)
