"""The outermost interceptor: refusals become their status, faults are logged once and told to nobody.

Left alone, grpcio sends the text of an exception to the caller.
"""

import asyncio
import functools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import grpc
import grpc.aio

from lodeworks_controller.log_lines import CAUSE, Cause
from lodeworks_controller.service.meter import Meter, NoMeter
from lodeworks_controller.transport.errors import refusals_as_status

Context = grpc.aio.ServicerContext[Any, Any]

_REQUEST_ID: Final = "x-request-id"
_LONGEST_ID: Final = 100
_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
_ANSWERED: Final = (grpc.aio.AbortError, grpc.aio.UsageError)


class OutermostInterceptor(grpc.aio.ServerInterceptor):
    """Stands in front of every rpc of a listener."""

    def __init__(self, logger: logging.Logger, *, meter: Meter | None = None) -> None:
        self._logger = logger
        self._meter = meter or NoMeter()

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
            async with self._guarded(context, method, request):
                return await behavior(request, context)

        return answer

    def _streaming(self, behavior: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., AsyncIterator[Any]]:
        @functools.wraps(behavior)
        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._guarded(context, method, request):
                async for response in behavior(request, context):
                    yield response

        return stream

    @asynccontextmanager
    async def _guarded(self, context: Context, method: str, request: Any) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        cause = Cause(_request_id(context), method, task_id=getattr(request, "task_id", ""))
        token = CAUSE.set(cause)
        try:
            async with refusals_as_status(context):
                yield
        except _ANSWERED:
            raise
        except Exception:
            self._logger.exception("a fault in %s", method)
            await context.abort(
                grpc.StatusCode.INTERNAL,
                f"the controller failed on this call; its log says why under request {cause.request_id}, "
                "repeating may help",
            )
        finally:
            code, took_s = _code(context), loop.time() - begun
            self._meter.rpc(method, code, took_s)
            self._logger.debug("%s answered %s in %.1f ms", method, code, took_s * 1000)
            with suppress(ValueError):  # a stream that was dropped is closed from elsewhere
                CAUSE.reset(token)


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID and isinstance(value, str):
            return value[:_LONGEST_ID]
    return secrets.token_hex(6)


def _code(context: Context) -> str:
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _CODES.get(code or 0, "UNKNOWN")


def _rebuilt(handler: Any, **behaviors: Any) -> Any:
    """Returns the handler with other behaviour and the same serializers."""
    (kind, behavior), *_ = behaviors.items()
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
