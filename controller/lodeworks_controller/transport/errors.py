"""The one table from refusals to gRPC status, and the way they travel: google.rpc.Status with details."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
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

DOMAIN: Final = "lodeworks"

CODES: Final[tuple[tuple[type[LodeworksError], int], ...]] = (
    # Most specific first; a test walks the tree.
    (ExistsError, code_pb2.ALREADY_EXISTS),
    (ConflictError, code_pb2.FAILED_PRECONDITION),
    (GuardError, code_pb2.FAILED_PRECONDITION),
    (StaleLeaseError, code_pb2.ABORTED),
    (SessionSupersededError, code_pb2.ABORTED),
    (NotFoundError, code_pb2.NOT_FOUND),
    (InvalidError, code_pb2.INVALID_ARGUMENT),
    (PermissionDeniedError, code_pb2.PERMISSION_DENIED),
    (UnauthenticatedError, code_pb2.UNAUTHENTICATED),
    (ExhaustedError, code_pb2.RESOURCE_EXHAUSTED),
    (UnavailableError, code_pb2.UNAVAILABLE),
    (GapError, code_pb2.OUT_OF_RANGE),
)


def code_of(kind: type[LodeworksError]) -> int:
    """Returns the status of a class of refusals; raises LookupError for one without a row."""
    for listed, code in CODES:
        if issubclass(kind, listed):
            return code
    raise LookupError(f"{kind.__name__} has no row in the table of status codes")


def status_of(error: LodeworksError) -> status_pb2.Status:
    """Returns what travels: code, message, ErrorInfo, RetryInfo where a repeat helps, BadRequest for a field."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, UnavailableError):
        retry = error_details_pb2.RetryInfo()
        fraction, whole = math.modf(error.retry_after_s)
        retry.retry_delay.seconds, retry.retry_delay.nanos = int(whole), int(fraction * 1e9)
        details.append(retry)
    if isinstance(error, InvalidError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    return status_pb2.Status(code=code_of(type(error)), message=error.message, details=[_packed(d) for d in details])


@asynccontextmanager
async def refusals_as_status(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Answers a refusal with its status; faults pass on to the outer interceptor."""
    try:
        yield
    except LodeworksError as error:
        await context.abort_with_status(rpc_status.to_status(status_of(error)))


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
