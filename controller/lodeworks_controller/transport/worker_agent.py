"""What workers call: sessions, leases, outcomes, logs and metrics."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
from lodeworks.agent.worker.v1 import log_pb2, log_pb2_grpc, worker_pb2, worker_pb2_grpc

from lodeworks_controller.domain.identity import AgentIdentity
from lodeworks_controller.domain.task.attempt import Outcome
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.worker import Capabilities, Directive, DirectiveKind, Gpu
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.blob_store import check_digest
from lodeworks_controller.service.checkpoint_service import CheckpointService
from lodeworks_controller.service.completion import Completion
from lodeworks_controller.service.granting import Grant, GrantService, PollAsk
from lodeworks_controller.service.lease import LeaseReport, LeaseService, Registration, RunningLease, Verdict
from lodeworks_controller.service.log import LogChunk, LogKey, LogService, MetricPoint
from lodeworks_controller.transport.places import NO_PLACES, Places
from lodeworks_controller.transport.wire import from_duration, from_time, to_duration

Context = grpc.aio.ServicerContext[Any, Any]
AgentOf = Callable[[Context], AgentIdentity]
"""Returns which worker a call comes from, by its certificate, or refuses."""

_PHASES = {
    worker_pb2.PHASE_STAGING: "staging",
    worker_pb2.PHASE_RUNNING: "running",
    worker_pb2.PHASE_HARVESTING: "harvesting",
}
_OUTCOMES = {
    worker_pb2.OUTCOME_SUCCEEDED: Outcome.SUCCEEDED,
    worker_pb2.OUTCOME_FAILED: Outcome.FAILED,
    worker_pb2.OUTCOME_CANCELLED: Outcome.CANCELLED,
}
_DIRECTIVES = {
    DirectiveKind.CANCEL: worker_pb2.DIRECTIVE_KIND_CANCEL,
    DirectiveKind.KILL: worker_pb2.DIRECTIVE_KIND_KILL,
    DirectiveKind.DRAIN: worker_pb2.DIRECTIVE_KIND_DRAIN,
    DirectiveKind.UNDRAIN: worker_pb2.DIRECTIVE_KIND_UNDRAIN,
}
_VERDICTS = {
    Verdict.OK: worker_pb2.LEASE_VERDICT_OK,
    Verdict.LOST: worker_pb2.LEASE_VERDICT_LOST,
    Verdict.CANCEL: worker_pb2.LEASE_VERDICT_CANCEL,
}


class WorkerAgentServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Lets workers take tasks and report on them."""

    def __init__(
        self,
        leases: LeaseService,
        grants: GrantService,
        checkpoints: CheckpointService,
        *,
        agent: AgentOf,
        terms: LeaseTerms,
        version: str,
        places: Places = NO_PLACES,
    ) -> None:
        self._leases = leases
        self._grants = grants
        self._checkpoints = checkpoints
        self._agent = agent
        self._terms = terms
        self._version = version
        self._places = places

    async def Register(self, request: worker_pb2.RegisterRequest, context: Context) -> worker_pb2.RegisterResponse:
        """Opens a session."""
        told = Registration(
            boot_id=request.boot_id,
            version=request.version,
            hostname=request.hostname,
            capabilities=_from_capabilities(request.capabilities),
            gpus=tuple(Gpu(gpu.uuid, gpu.model, gpu.memory_bytes) for gpu in request.capabilities.gpus),
            running=tuple(RunningLease(run.task_id, run.lease_epoch, run.finished) for run in request.running),
        )
        session = await self._leases.register(self._agent(context).id, told)
        return worker_pb2.RegisterResponse(
            session=session.id,
            session_epoch=session.epoch,
            poll_wait=to_duration(self._terms.poll_wait_s),
            report_interval=to_duration(self._terms.report_interval_s),
            lease_ttl=to_duration(self._terms.ttl_s),
            adopt=session.adopt,
            kill=session.kill,
            server_version=self._version,
        )

    async def Poll(self, request: worker_pb2.PollRequest, context: Context) -> worker_pb2.PollResponse:
        """Waits for grants and directives."""
        ask = PollAsk(
            session=request.session,
            max_leases=request.max_leases,
            wait_s=from_duration(request.wait),
            have_directive_seq=request.have_directive_seq,
            free_gpu_uuids=frozenset(request.free_gpu_uuids),
            used_gpu_uuids=frozenset(request.used_gpu_uuids),
        )
        answer = await self._grants.poll(self._agent(context).id, ask)
        return worker_pb2.PollResponse(
            grants=[_to_grant(grant) for grant in answer.grants],
            directives=[_to_directive(directive) for directive in answer.directives],
            agents_address=self._places.agents,
            addresses=self._places.people,
        )

    async def Report(self, request: worker_pb2.ReportRequest, context: Context) -> worker_pb2.ReportResponse:
        """Hears of the leases that a worker holds."""
        reports = [
            LeaseReport(one.task_id, one.lease_epoch, _PHASES.get(one.phase, ""), one.progress, one.message)
            for one in request.leases
        ]
        answers = await self._leases.report(self._agent(context).id, request.session, reports)
        return worker_pb2.ReportResponse(
            leases=[
                worker_pb2.LeaseAnswer(
                    task_id=report.task_id, lease_epoch=report.lease_epoch, verdict=_VERDICTS[verdict]
                )
                for report, verdict in answers
            ]
        )

    async def Complete(self, request: worker_pb2.CompleteRequest, context: Context) -> worker_pb2.CompleteResponse:
        """Takes the outcome of a run."""
        outcome = _OUTCOMES.get(request.outcome)
        if outcome is None or not request.request_id:
            raise InvalidError("COMPLETION_INVALID", "a completion names an outcome and a request id", field="outcome")
        told = Completion(
            request_id=request.request_id,
            task_id=request.task_id,
            lease_epoch=request.lease_epoch,
            outcome=outcome,
            reason=_from_reason(request.reason),
            message=request.message,
            exit_code=request.exit_code,
            signal=request.signal,
            oom=request.oom,
            outputs=tuple(Output(one.role, one.digest, one.size_bytes) for one in request.outputs),
            started_at=from_time(request.start_time),
            ended_at=from_time(request.end_time),
            environment_digest=request.environment_digest,
            cpu_s=request.cpu_s,
        )
        await self._leases.complete(self._agent(context).id, told)
        return worker_pb2.CompleteResponse()

    async def SaveCheckpoint(
        self, request: worker_pb2.SaveCheckpointRequest, context: Context
    ) -> worker_pb2.SaveCheckpointResponse:
        """Takes the newest checkpoint of a run."""
        await self._checkpoints.save(
            self._agent(context).id,
            request.task_id,
            request.lease_epoch,
            digest=check_digest(request.digest),
            size_bytes=request.size_bytes,
        )
        return worker_pb2.SaveCheckpointResponse()


class WorkerLogServicer(log_pb2_grpc.LogServiceServicer):
    """Takes the logs and metrics of runs."""

    def __init__(self, logs: LogService, *, agent: AgentOf) -> None:
        self._logs = logs
        self._agent = agent

    async def Append(
        self, request_iterator: AsyncIterator[log_pb2.AppendRequest], context: Context
    ) -> log_pb2.AppendResponse:
        """Appends chunks of log streams."""
        chunks = (
            LogChunk(LogKey(one.task_id, one.lease_epoch, one.stream or "out"), one.offset, one.data)
            async for one in request_iterator
        )
        committed = await self._logs.append(self._agent(context).id, chunks)
        return log_pb2.AppendResponse(
            committed=[
                log_pb2.CommittedLog(task_id=key.task_id, stream=key.stream, size_bytes=size)
                for key, size in committed.items()
            ]
        )

    async def AppendMetrics(
        self, request: log_pb2.AppendMetricsRequest, context: Context
    ) -> log_pb2.AppendMetricsResponse:
        """Appends points of metric series."""
        points = [MetricPoint(one.step, one.name, one.value, from_time(one.measure_time)) for one in request.points]
        committed = await self._logs.append_metrics(
            self._agent(context).id, request.task_id, request.lease_epoch, offset=request.offset, points=points
        )
        return log_pb2.AppendMetricsResponse(committed=committed)


def _from_capabilities(told: worker_pb2.Capabilities) -> Capabilities:
    return Capabilities(
        cpus=told.cpus,
        memory_bytes=told.memory_bytes,
        disk_bytes=told.disk_bytes,
        names=frozenset(told.capabilities),
        labels=dict(told.labels),
        missing=dict(told.missing),
        max_runs=told.max_runs,
    )


def _from_reason(reason: worker_pb2.FailureReason.ValueType) -> FailureReason | None:
    if not reason:
        return None
    return FailureReason[worker_pb2.FailureReason.Name(reason).removeprefix("FAILURE_REASON_")]


def _to_directive(directive: Directive) -> worker_pb2.Directive:
    return worker_pb2.Directive(
        seq=directive.seq,
        kind=_DIRECTIVES[directive.kind],
        task_id=directive.task_id,
        lease_epoch=directive.lease_epoch,
    )


def _to_grant(grant: Grant) -> worker_pb2.Grant:
    return worker_pb2.Grant(
        task_id=grant.task.id,
        lease_epoch=grant.task.lease.epoch,
        run=_to_run(grant.run),
        gpu_uuids=grant.gpu_uuids,
        attempt=grant.task.attempt_no,
        title=grant.task.title,
    )


def _to_run(run: RunSpec) -> worker_pb2.RunSpec:
    held, limits = run.resources, run.limits
    return worker_pb2.RunSpec(
        executor=run.executor,
        operations=run.operations,
        class_names=run.class_names,
        settings_yaml=run.settings_yaml,
        inputs=[
            worker_pb2.InputBlob(role=one.role, digest=one.digest, size_bytes=one.size_bytes) for one in run.inputs
        ],
        outputs=[
            worker_pb2.OutputSlot(role=one.role, required=one.required, max_bytes=one.max_bytes) for one in run.outputs
        ],
        resources=worker_pb2.Resources(
            gpus=held.gpus, cpus=held.cpus, memory_bytes=held.memory_bytes, shm_bytes=held.shm_bytes
        ),
        limits=worker_pb2.Limits(
            run=to_duration(limits.run_timeout_s),
            stall=to_duration(limits.stall_timeout_s),
            grace=to_duration(limits.stop_grace_s),
        ),
        export_format=run.export_format,
        object_type=run.object_type,
        policy=worker_pb2.RunPolicy(network=run.policy.network, user=run.policy.user, out_bytes=run.policy.out_bytes),
    )
