"""The outermost interceptor: refusals become their status, faults are logged once and told to nobody.

Left alone, grpcio sends the text of an exception to the caller.
"""

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio

from lodeworks_controller.transport.errors import refusals_as_status

Context = grpc.aio.ServicerContext[Any, Any]

_ANSWERED: Final = (grpc.aio.AbortError, grpc.aio.UsageError)


class OutermostInterceptor(grpc.aio.ServerInterceptor):
    """Stands in front of every rpc of a listener."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of the rpc, whatever of its sides are streams."""
        handler = await continuation(handler_call_details)
        if handler is None:  # UNIMPLEMENTED
            return None
        method = handler_call_details.method
        if handler.unary_unary:
            return _rebuilt(handler, unary_unary=self._answering(handler.unary_unary, method))
        if handler.stream_unary:
            return _rebuilt(handler, stream_unary=self._answering(handler.stream_unary, method))
        if handler.unary_stream:
            return _rebuilt(handler, unary_stream=self._streaming(handler.unary_stream, method))
        return _rebuilt(handler, stream_stream=self._streaming(handler.stream_stream, method))

    def _answering(self, behavior: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(behavior)
        async def answer(request: Any, context: Context) -> Any:
            async with self._guarded(context, method):
                return await behavior(request, context)

        return answer

    def _streaming(self, behavior: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., AsyncIterator[Any]]:
        @functools.wraps(behavior)
        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._guarded(context, method):
                async for response in behavior(request, context):
                    yield response

        return stream

    @asynccontextmanager
    async def _guarded(self, context: Context, method: str) -> AsyncIterator[None]:
        try:
            async with refusals_as_status(context):
                yield
        except _ANSWERED:
            raise
        except Exception:
            self._logger.exception("a fault in %s", method)
            await context.abort(
                grpc.StatusCode.INTERNAL, "the controller failed on this call; its log says why, repeating may help"
            )


def _rebuilt(handler: Any, **behaviors: Any) -> Any:
    """Returns the handler with other behaviour and the same serializers."""
    (kind, behavior), *_ = behaviors.items()
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
