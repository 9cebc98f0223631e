"""Reads what a controller says when it refuses: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN: Final = "lodeworks"
"""The domain of every ErrorInfo of ours."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused rpc, whether the controller answered or the transport failed.

    Attributes:
        code: The gRPC status.
        reason: Stable reason of the controller; empty if the answer did not come from it.
        message: What is wrong and what to do.
        metadata: Attributes of the refusal.
        fields: Field path to what is wrong with it, for bad requests.
        retry_after_s: When a repeat helps, None if it does not or nobody said.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None

    @property
    def answered(self) -> bool:
        """Says whether a controller spoke, rather than the transport."""
        return bool(self.reason)

    @property
    def transient(self) -> bool:
        """Says whether the same call may succeed later without anybody doing anything."""
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_after_s is not None


def refusal_of(error: grpc.RpcError) -> Refusal:
    """Reads a failed call; takes errors of the asyncio and of the blocking stack."""
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = (error.details() or "") if hasattr(error, "details") else str(error)
    status = _status(error)
    if status is None:
        return Refusal(code=code, reason="", message=details)
    reason, metadata = "", dict[str, str]()
    fields = dict[str, str]()
    retry_after_s: float | None = None
    for detail in status.details:
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(bad):
            fields.update({violation.field: violation.description for violation in bad.field_violations})
    return Refusal(
        code=code,
        reason=reason,
        message=status.message or details,
        metadata=metadata,
        fields=fields,
        retry_after_s=retry_after_s,
    )


def _status(error: Any) -> status_pb2.Status | None:
    if not hasattr(error, "trailing_metadata"):
        return None
    try:
        status: status_pb2.Status | None = rpc_status.from_call(error)
    except ValueError:  # the trailers contradict the call: not ours
        return None
    return status
