"""The table from refusals to status: complete, ordered, and read back by the client."""

from collections.abc import Iterator

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2
from lodeworks.channel.refusal import refusal_of
from lodeworks_controller.errors import (
    ExistsError,
    GapError,
    InvalidError,
    LodeworksError,
    StaleLeaseError,
    UnavailableError,
)
from lodeworks_controller.transport.errors import CODES, code_of, status_of


def tree(kind: type[LodeworksError]) -> Iterator[type[LodeworksError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("lodeworks_controller."):
            yield child
            yield from tree(child)


@pytest.mark.parametrize("kind", list(tree(LodeworksError)), ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_status(kind: type[LodeworksError]) -> None:
    assert code_of(kind) not in {code_pb2.OK, code_pb2.UNKNOWN, code_pb2.INTERNAL}


def test_most_specific_rows_come_first() -> None:
    listed = [kind for kind, _ in CODES]
    for index, kind in enumerate(listed):
        assert not any(issubclass(kind, earlier) for earlier in listed[:index])


def carried(error: LodeworksError) -> grpc.RpcError:
    status = status_of(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=status.message)


def test_client_reads_what_was_refused() -> None:
    refusal = refusal_of(carried(InvalidError("NAME_INVALID", "not a name", field="name", name="A B")))

    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "NAME_INVALID"
    assert refusal.message == "not a name"
    assert refusal.metadata == {"name": "A B"}
    assert refusal.fields == {"name": "not a name"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExistsError("USER_EXISTS", "taken"), grpc.StatusCode.ALREADY_EXISTS),
        (StaleLeaseError("t", lease_epoch=3), grpc.StatusCode.ABORTED),
        (GapError("WRITE_GAP", "a gap", committed_bytes=7), grpc.StatusCode.OUT_OF_RANGE),
    ],
)
def test_codes(error: LodeworksError, code: grpc.StatusCode) -> None:
    assert refusal_of(carried(error)).code is code


def test_what_passes_says_when_to_come_back() -> None:
    refusal = refusal_of(carried(UnavailableError("BUSY", "busy", retry_after_s=2.25)))

    assert refusal.retry_after_s == 2.25
    assert refusal.transient
