"""The worker protocol over grpc: the only place of the worker that knows generated messages, with `enrolment`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from lodeworks.agent.worker.v1 import log_pb2, log_pb2_grpc, worker_pb2, worker_pb2_grpc
from lodeworks.channel.errors import ChannelError
from lodeworks.channel.refusal import refusal_of

from lodeworks_worker import __version__
from lodeworks_worker.control_plane import (
    Directive,
    DirectiveKind,
    Fingerprint,
    Health,
    Held,
    LeaseAnswer,
    LeaseReport,
    MetricPoint,
    Polled,
    RunState,
    Scope,
    Session,
    Verdict,
)
from lodeworks_worker.errors import (
    LeaseLostError,
    LogGapError,
    OutputMissingError,
    RefusedError,
    RemovedError,
    SessionLostError,
    UnreachableError,
    WorkerError,
)
from lodeworks_worker.grant import Grant, Input, Limits, OutputSlot, Resources, RunPolicy, RunSpec
from lodeworks_worker.log_pump import OUT, WORKER
from lodeworks_worker.outcome import FailureReason, Outcome, OutcomeState

_T = TypeVar("_T")
_CALL_TIMEOUT_S = 30.0
_POLL_MARGIN_S = 15.0
_LOG_CHUNK_BYTES = 64 << 10
_PASSING = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
)
_REASONS: dict[str, type[WorkerError]] = {
    "LEASE_LOST": LeaseLostError,
    "SESSION_SUPERSEDED": SessionLostError,
    "SESSION_NOT_FOUND": SessionLostError,
    "WORKER_NOT_FOUND": RemovedError,
    "OUTPUT_MISSING": OutputMissingError,
}
_PHASES = {
    RunState.STAGING: worker_pb2.PHASE_STAGING,
    RunState.RUNNING: worker_pb2.PHASE_RUNNING,
    RunState.HARVESTING: worker_pb2.PHASE_HARVESTING,
}
_DIRECTIVES = {
    worker_pb2.DIRECTIVE_KIND_CANCEL: DirectiveKind.CANCEL,
    worker_pb2.DIRECTIVE_KIND_KILL: DirectiveKind.KILL,
    worker_pb2.DIRECTIVE_KIND_DRAIN: DirectiveKind.DRAIN,
    worker_pb2.DIRECTIVE_KIND_UNDRAIN: DirectiveKind.UNDRAIN,
}
_VERDICTS = {
    worker_pb2.LEASE_VERDICT_LOST: Verdict.LOST,
    worker_pb2.LEASE_VERDICT_CANCEL: Verdict.CANCEL,
}
_OUTCOMES = {
    OutcomeState.SUCCEEDED: worker_pb2.OUTCOME_SUCCEEDED,
    OutcomeState.FAILED: worker_pb2.OUTCOME_FAILED,
    OutcomeState.CANCELLED: worker_pb2.OUTCOME_CANCELLED,
}


def worker_error(error: grpc.RpcError) -> WorkerError:
    """Returns what a failed call means to the worker."""
    refusal = refusal_of(error)
    message = refusal.message or refusal.code.name
    if refusal.reason == "LOG_GAP":
        told = refusal.metadata
        return LogGapError(committed=int(told.get("committed_size") or told.get("committed_bytes") or 0))
    kind = _REASONS.get(refusal.reason)
    if kind is not None:
        return kind(message)
    if refusal.transient or refusal.code in _PASSING:
        return UnreachableError(message)
    return RefusedError(f"{message} ({refusal.reason or refusal.code.name})")


async def answered(call: Awaitable[_T]) -> _T:
    """Awaits a call and raises what its refusal means."""
    try:
        return await call
    except grpc.RpcError as error:
        raise worker_error(error) from error


class GrpcControlPlane:
    """The controller behind a channel.

    A superseded session is a lost one here: whether another boot is live shows when it happens again and again.

    Args:
        channel: Dials the port of the agents.
        hostname: Name of this machine, for people.
        explain: Finds what stands behind a failure of the transport; None where nothing does.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        hostname: str,
        explain: Callable[[grpc.RpcError], Awaitable[ChannelError | None]],
    ) -> None:
        self._explain = explain
        self._worker = worker_pb2_grpc.WorkerServiceStub(channel)
        self._log = log_pb2_grpc.LogServiceStub(channel)
        self._hostname = hostname

    async def register(self, *, boot_id: str, fingerprint: Fingerprint, held: Sequence[Held]) -> Session:
        """Opens a session."""
        request = worker_pb2.RegisterRequest(
            boot_id=boot_id,
            version=__version__,
            capabilities=_capabilities(fingerprint),
            running=[
                worker_pb2.RunningLease(task_id=one.task_id, lease_epoch=one.lease_epoch, finished=one.finished)
                for one in held
            ],
            hostname=self._hostname,
        )
        try:
            told = await self._worker.Register(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            cause = await self._explain(error)
            raise UnreachableError(str(cause)) if cause else worker_error(error) from error
        return Session(
            id=told.session,
            epoch=told.session_epoch,
            poll_wait_s=_seconds(told.poll_wait),
            report_interval_s=_seconds(told.report_interval),
            lease_ttl_s=_seconds(told.lease_ttl),
            adopt=frozenset(told.adopt),
            kill=frozenset(told.kill),
        )

    async def poll(
        self,
        session: str,
        *,
        max_leases: int,
        wait_s: float,
        have_directive_seq: int,
        free_gpus: Sequence[str],
        used_gpus: Sequence[str] = (),
    ) -> Polled:
        """Waits for grants and directives."""
        request = worker_pb2.PollRequest(
            session=session,
            max_leases=max_leases,
            wait=_duration(wait_s),
            have_directive_seq=have_directive_seq,
            free_gpu_uuids=free_gpus,
            used_gpu_uuids=used_gpus,
        )
        told = await answered(self._worker.Poll(request, timeout=wait_s * 1.2 + _POLL_MARGIN_S))
        return Polled(
            grants=tuple(_grant(one) for one in told.grants),
            directives=tuple(
                Directive(one.seq, _DIRECTIVES[one.kind], one.task_id, one.lease_epoch)
                for one in told.directives
                if one.kind in _DIRECTIVES
            ),
            agents_address=told.agents_address,
            addresses=tuple(told.addresses),
        )

    async def report(
        self, session: str, *, seq: int, leases: Sequence[LeaseReport], health: Health
    ) -> Sequence[LeaseAnswer]:
        """Reports on the held leases."""
        request = worker_pb2.ReportRequest(
            session=session,
            seq=seq,
            leases=[
                worker_pb2.LeaseReport(
                    task_id=one.task_id,
                    lease_epoch=one.lease_epoch,
                    phase=_PHASES[one.state],
                    progress=one.progress,
                    message=one.message,
                )
                for one in leases
            ],
            health=worker_pb2.Health(
                cpu_load=health.cpu_load,
                memory_used_bytes=health.memory_used_bytes,
                disk_free_bytes=health.disk_free_bytes,
            ),
        )
        told = await answered(self._worker.Report(request, timeout=_CALL_TIMEOUT_S))
        return [
            LeaseAnswer(one.task_id, one.lease_epoch, _VERDICTS.get(one.verdict, Verdict.OK)) for one in told.leases
        ]

    async def complete(self, session: str, outcome: Outcome) -> None:
        """Hands over an outcome."""
        await answered(self._worker.Complete(_completion(session, outcome), timeout=_CALL_TIMEOUT_S))

    async def append_log(self, scope: Scope, *, stream: str, offset: int, data: bytes) -> int:
        """Appends to a log stream."""

        async def chunks() -> AsyncIterator[log_pb2.AppendRequest]:
            for start in range(0, len(data), _LOG_CHUNK_BYTES):
                yield log_pb2.AppendRequest(
                    task_id=scope.task_id,
                    lease_epoch=scope.lease_epoch,
                    stream=stream,
                    offset=offset + start,
                    data=data[start : start + _LOG_CHUNK_BYTES],
                )

        told = await answered(self._log.Append(chunks(), timeout=_CALL_TIMEOUT_S))
        sizes = {one.stream: one.size_bytes for one in told.committed}
        return int(sizes.get(stream, offset + len(data)))

    async def append_metrics(self, scope: Scope, *, offset: int, points: Sequence[MetricPoint]) -> int:
        """Appends points."""
        request = log_pb2.AppendMetricsRequest(
            task_id=scope.task_id,
            lease_epoch=scope.lease_epoch,
            offset=offset,
            points=[
                log_pb2.MetricPoint(
                    step=one.step, name=one.name, value=one.value, measure_time=_timestamp(one.measured_at)
                )
                for one in points
            ],
        )
        return int((await answered(self._log.AppendMetrics(request, timeout=_CALL_TIMEOUT_S))).committed)

    async def save_checkpoint(self, scope: Scope, *, digest: str, size_bytes: int) -> None:
        """Names the newest checkpoint of a run."""
        request = worker_pb2.SaveCheckpointRequest(
            task_id=scope.task_id, lease_epoch=scope.lease_epoch, digest=digest, size_bytes=size_bytes
        )
        await answered(self._worker.SaveCheckpoint(request, timeout=_CALL_TIMEOUT_S))


def _capabilities(fingerprint: Fingerprint) -> worker_pb2.Capabilities:
    return worker_pb2.Capabilities(
        gpus=[
            worker_pb2.Gpu(uuid=gpu.uuid, model=gpu.model, memory_bytes=gpu.memory_bytes) for gpu in fingerprint.gpus
        ],
        cpus=fingerprint.cpus,
        memory_bytes=fingerprint.memory_bytes,
        disk_bytes=fingerprint.disk_bytes,
        capabilities=fingerprint.capabilities,
        labels=dict(fingerprint.labels),
        missing=dict(fingerprint.missing),
        max_runs=fingerprint.max_runs,
    )


def _grant(told: worker_pb2.Grant) -> Grant:
    run = told.run
    return Grant(
        task_id=told.task_id,
        lease_epoch=told.lease_epoch,
        gpu_uuids=tuple(told.gpu_uuids),
        attempt=told.attempt,
        title=told.title,
        run=RunSpec(
            executor=run.executor,
            operations=tuple(run.operations),
            class_names=tuple(run.class_names),
            settings_yaml=run.settings_yaml,
            inputs=tuple(Input(one.role, one.digest, one.size_bytes) for one in run.inputs),
            outputs=tuple(OutputSlot(one.role, one.required, one.max_bytes) for one in run.outputs),
            resources=Resources(
                gpus=run.resources.gpus,
                cpus=run.resources.cpus,
                memory_bytes=run.resources.memory_bytes,
                shm_bytes=run.resources.shm_bytes,
            ),
            limits=Limits(
                run_s=_seconds(run.limits.run), stall_s=_seconds(run.limits.stall), grace_s=_seconds(run.limits.grace)
            ),
            export_format=run.export_format,
            object_type=run.object_type,
            policy=RunPolicy(network=run.policy.network, user=run.policy.user, out_bytes=run.policy.out_bytes),
        ),
    )


def _completion(session: str, outcome: Outcome) -> worker_pb2.CompleteRequest:
    judgement = outcome.judgement
    return worker_pb2.CompleteRequest(
        request_id=outcome.request_id,
        session=session,
        task_id=outcome.task_id,
        lease_epoch=outcome.lease_epoch,
        outcome=_OUTCOMES[judgement.state],
        reason=_reason(judgement.failure),
        message=judgement.message,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        oom=outcome.oom,
        outputs=[
            worker_pb2.OutputBlob(role=one.role, digest=one.digest, size_bytes=one.size_bytes)
            for one in outcome.outputs
        ],
        log_sizes=[
            worker_pb2.LogSize(stream=OUT, size_bytes=outcome.out_log_bytes),
            worker_pb2.LogSize(stream=WORKER, size_bytes=outcome.worker_log_bytes),
        ],
        start_time=_timestamp(outcome.started_at) if outcome.started_at else None,
        end_time=_timestamp(outcome.ended_at) if outcome.ended_at else None,
        environment_digest=outcome.environment_digest,
        cpu_s=outcome.cpu_s,
    )


def _reason(failure: FailureReason | None) -> worker_pb2.FailureReason.ValueType:
    """Names are the same on the wire; a test walks them."""
    if failure is None:
        return worker_pb2.FAILURE_REASON_UNSPECIFIED
    return worker_pb2.FailureReason.Value(f"FAILURE_REASON_{failure.name}")


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _duration(seconds: float) -> Duration:
    told = Duration()
    told.FromNanoseconds(round(seconds * 1e9))
    return told


def _timestamp(seconds: float) -> Timestamp:
    told = Timestamp()
    told.FromNanoseconds(round(seconds * 1e9))
    return told
