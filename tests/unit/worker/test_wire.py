"""Words that must be the same on the wire and in the worker."""

import pytest
from lodeworks.agent.worker.v1 import worker_pb2
from lodeworks_worker.control_plane import DirectiveKind, RunState, Verdict
from lodeworks_worker.fingerprint import parse_nvidia
from lodeworks_worker.outcome import FailureReason, Judgement, Outcome, OutcomeState, Output
from lodeworks_worker.wire import _completion, _grant


def _names(enum, prefix):
    return {name.removeprefix(prefix) for name in enum.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - a protobuf wrapper


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (FailureReason, worker_pb2.FailureReason, "FAILURE_REASON_"),
        (OutcomeState, worker_pb2.Outcome, "OUTCOME_"),
        (RunState, worker_pb2.Phase, "PHASE_"),
        (DirectiveKind, worker_pb2.DirectiveKind, "DIRECTIVE_KIND_"),
        (Verdict, worker_pb2.LeaseVerdict, "LEASE_VERDICT_"),
    ],
)
def test_every_word_is_on_the_wire(ours, theirs, prefix):
    assert {one.name for one in ours} == _names(theirs, prefix)


def test_an_outcome_travels_whole():
    judgement = Judgement(OutcomeState.FAILED, FailureReason.DISK_FULL, "no room")
    outcome = Outcome(
        "r", "t", 3, judgement, exit_code=2, outputs=(Output("a", "b", 1),), started_at=1.5, out_log_bytes=9
    )
    told = _completion("s", outcome)
    assert told.reason == worker_pb2.FAILURE_REASON_DISK_FULL
    assert (told.request_id, told.session, told.lease_epoch, told.exit_code) == ("r", "s", 3, 2)
    assert told.start_time.ToMilliseconds() == 1500
    assert not told.HasField("end_time")
    assert {one.stream: one.size_bytes for one in told.log_sizes} == {"out": 9, "worker": 0}


def test_a_grant_is_read_whole():
    told = worker_pb2.Grant(
        task_id="t",
        lease_epoch=2,
        run=worker_pb2.RunSpec(executor="image:x@sha256:1", settings_yaml="lr: 20\n", class_names=["a"]),
        gpu_uuids=["g"],
    )
    told.run.limits.grace.FromMilliseconds(1500)
    grant = _grant(told)
    assert (grant.run.kind, grant.run.target) == ("image", "x@sha256:1")
    assert grant.run.limits.grace_s == 1.5
    assert grant.run.settings_yaml == "lr: 20\n"
    assert grant.gpu_uuids == ("g",)


def test_nvidia_smi_is_read():
    text = "GPU-1a, NVIDIA H200, 143771\nNo devices were found\n"
    (gpu,) = parse_nvidia(text)
    assert (gpu.uuid, gpu.model, gpu.memory_bytes) == ("GPU-1a", "NVIDIA H200", 143771 << 20)
