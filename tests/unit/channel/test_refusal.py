"""Reading google.rpc.Status from a failed call."""

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from lodeworks.channel.refusal import refusal_of


def _failed(code: grpc.StatusCode, *, details: str = "", status: status_pb2.Status | None = None) -> grpc.RpcError:
    trailers = grpc.aio.Metadata()
    if status is not None:
        trailers.add("grpc-status-details-bin", status.SerializeToString())
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=details)


def _packed(*details: object) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return packed


def test_reads_every_detail() -> None:
    status = status_pb2.Status(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        message="the disk is full",
        details=_packed(
            error_details_pb2.ErrorInfo(reason="DISK_FULL", domain="lodeworks", metadata={"free_bytes": "7"}),
            error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field="size_bytes", description="too much")
                ]
            ),
        ),
    )

    refusal = refusal_of(_failed(grpc.StatusCode.RESOURCE_EXHAUSTED, details="the disk is full", status=status))

    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.reason == "DISK_FULL"
    assert refusal.message == "the disk is full"
    assert refusal.metadata == {"free_bytes": "7"}
    assert refusal.fields == {"size_bytes": "too much"}
    assert refusal.retry_after_s == 1.5
    assert refusal.answered
    assert refusal.transient


def test_transport_failure_has_no_reason() -> None:
    refusal = refusal_of(_failed(grpc.StatusCode.UNAVAILABLE, details="Socket closed"))

    assert refusal.reason == ""
    assert refusal.message == "Socket closed"
    assert not refusal.answered
    assert refusal.transient


def test_status_that_contradicts_the_call_is_not_believed() -> None:
    status = status_pb2.Status(code=5, message="another")

    refusal = refusal_of(_failed(grpc.StatusCode.ABORTED, details="aborted", status=status))

    assert refusal.code is grpc.StatusCode.ABORTED
    assert not refusal.answered
    assert not refusal.transient
