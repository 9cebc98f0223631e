"""The one table from refusals to gRPC status, and what stands in front of every handler."""

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from lodeworks_controller.errors import (
    ConflictError,
    ExhaustedError,
    ExistsError,
    GapError,
    GuardError,
    InvalidError,
    LodeworksError,
    NotFoundError,
    PermissionDeniedError,
    SessionSupersededError,
    StaleLeaseError,
    UnauthenticatedError,
    UnavailableError,
)

_log = logging.getLogger(__name__)

_DOMAIN = "lodeworks"

CODES: tuple[tuple[type[LodeworksError], int], ...] = (
    # Most specific first; a test walks the tree and fails on a missing row.
    (StaleLeaseError, code_pb2.ABORTED),
    (SessionSupersededError, code_pb2.ABORTED),
    (ExistsError, code_pb2.ALREADY_EXISTS),
    (ConflictError, code_pb2.FAILED_PRECONDITION),
    (GuardError, code_pb2.FAILED_PRECONDITION),
    (NotFoundError, code_pb2.NOT_FOUND),
    (InvalidError, code_pb2.INVALID_ARGUMENT),
    (PermissionDeniedError, code_pb2.PERMISSION_DENIED),
    (UnauthenticatedError, code_pb2.UNAUTHENTICATED),
    (ExhaustedError, code_pb2.RESOURCE_EXHAUSTED),
    (UnavailableError, code_pb2.UNAVAILABLE),
    (GapError, code_pb2.OUT_OF_RANGE),
)


def status_of(error: LodeworksError) -> status_pb2.Status:
    """Returns the status of a refusal: ErrorInfo always, RetryInfo where a repeat helps, BadRequest for a field."""
    code = next(code for kind, code in CODES if isinstance(error, kind))
    details = [_pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.metadata))]
    if isinstance(error, UnavailableError):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if isinstance(error, InvalidError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    return status_pb2.Status(code=code, message=error.message, details=details)


def _pack(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


@asynccontextmanager
async def refusals_as_status(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Turns a LodeworksError into google.rpc.Status, and any other into a bare INTERNAL after it was logged once."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except LodeworksError as error:
        # abort is a coroutine here: not awaited, a refusal would answer OK with an empty reply.
        await context.abort_with_status(rpc_status.to_status(status_of(error)))
    except Exception:  # noqa: BLE001 (left alone, grpc would send the exception's text to the caller)
        _log.exception("a handler failed")
        await context.abort(grpc.StatusCode.INTERNAL, "the controller failed at this; its log tells why")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Stands in front of every handler: refusals become statuses, faults are logged and answered without detail."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of a call; None (no such method) stays None."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.request_streaming and handler.response_streaming:
            return handler._replace(stream_stream=_streaming(handler.stream_stream))  # type: ignore[attr-defined]
        if handler.request_streaming:
            return handler._replace(stream_unary=_answering(handler.stream_unary))  # type: ignore[attr-defined]
        if handler.response_streaming:
            return handler._replace(unary_stream=_streaming(handler.unary_stream))  # type: ignore[attr-defined]
        return handler._replace(unary_unary=_answering(handler.unary_unary))  # type: ignore[attr-defined]


def _answering(handle: Any) -> Any:
    @functools.wraps(handle)
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        async with refusals_as_status(context):
            return await handle(request, context)

    return answer


def _streaming(handle: Any) -> Any:
    @functools.wraps(handle)
    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        async with refusals_as_status(context):
            async for response in handle(request, context):
                yield response

    return stream
