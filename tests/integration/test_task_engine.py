"""The whole task engine over the wire: TLS, tokens, certificates, leases, logs, watching, refusals."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from controller_world import NOTHING, Installation, installation
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from lodeworks.agent.worker.v1 import log_pb2, log_pb2_grpc
from lodeworks.agent.worker.v1 import worker_pb2 as agent_pb2
from lodeworks.agent.worker.v1 import worker_pb2_grpc as agent_grpc
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2 as admin_pb2
from lodeworks.api.worker.v1 import worker_pb2_grpc as admin_grpc

WAIT = Duration(seconds=20)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(tmp_path / "state") as made:
        yield made


class Box:
    """A worker written by hand, one call at a time."""

    def __init__(self, worker_id: str, channel: grpc.aio.Channel) -> None:
        self.id = worker_id
        self.channel = channel
        self.stub = agent_grpc.WorkerServiceStub(channel)
        self.logs = log_pb2_grpc.LogServiceStub(channel)
        self.session = ""
        self.seq = 0

    async def register(self, *running: agent_pb2.RunningLease) -> agent_pb2.RegisterResponse:
        answer = await self.stub.Register(
            agent_pb2.RegisterRequest(
                boot_id="boot", capabilities=agent_pb2.Capabilities(capabilities=NOTHING, max_runs=4), running=running
            )
        )
        self.session = answer.session
        return answer

    async def poll(self, most: int = 1) -> agent_pb2.PollResponse:
        answer = await self.stub.Poll(
            agent_pb2.PollRequest(session=self.session, max_leases=most, wait=WAIT, have_directive_seq=self.seq)
        )
        self.seq = max([self.seq, *(directive.seq for directive in answer.directives)])
        return answer

    async def grant(self) -> agent_pb2.Grant:
        (grant,) = (await self.poll()).grants
        return grant

    async def report(self, grant: agent_pb2.Grant, **values: object) -> int:
        lease = agent_pb2.LeaseReport(task_id=grant.task_id, lease_epoch=grant.lease_epoch, **values)
        answer = await self.stub.Report(agent_pb2.ReportRequest(session=self.session, leases=[lease]))
        return answer.leases[0].verdict

    async def complete(self, grant: agent_pb2.Grant, **values: object) -> None:
        values = {
            "outcome": agent_pb2.OUTCOME_SUCCEEDED,
            "request_id": f"{grant.task_id}-{grant.lease_epoch}",
            **values,
        }
        await self.stub.Complete(
            agent_pb2.CompleteRequest(
                session=self.session, task_id=grant.task_id, lease_epoch=grant.lease_epoch, **values
            )
        )

    async def say(self, grant: agent_pb2.Grant, offset: int, data: bytes) -> int:
        async def chunks() -> AsyncIterator[log_pb2.AppendRequest]:
            yield log_pb2.AppendRequest(
                task_id=grant.task_id, lease_epoch=grant.lease_epoch, stream="out", offset=offset, data=data
            )

        answer = await self.logs.Append(chunks())
        return answer.committed[0].size_bytes


async def add_box(world: Installation, name: str = "box") -> Box:
    worker_id, channel, _ = await world.enrol(name)
    box = Box(worker_id, channel)
    await box.register()
    return box


@pytest.fixture
async def box(world: Installation) -> AsyncIterator[Box]:
    made = await add_box(world)
    yield made
    await made.channel.close()


@pytest.fixture
async def tasks(world: Installation) -> AsyncIterator[task_pb2_grpc.TaskServiceStub]:
    async with world.person() as channel:
        yield task_pb2_grpc.TaskServiceStub(channel)


async def wait_until(tasks: task_pb2_grpc.TaskServiceStub, task_id: str, *states: int) -> task_pb2.Task:
    """Follows a task until it is in one of the states."""
    revision = 0
    async with asyncio.timeout(20):
        while True:
            news = await tasks.WatchTask(
                task_pb2.WatchTaskRequest(
                    task_id=task_id, after_revision=revision, log_offset=-1, metric_offset=-1, wait=WAIT
                )
            )
            revision = news.task.revision
            if news.task.state in states:
                return news.task


async def refusal(call: Callable[[], Awaitable[object]]) -> tuple[grpc.StatusCode, str]:
    """Returns code and reason of a refused call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call()
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "lodeworks"
    return caught.value.code(), info.reason


async def test_a_task_runs_over_the_wire_and_its_watcher_sees_all_of_it(
    world: Installation, box: Box, tasks: task_pb2_grpc.TaskServiceStub
) -> None:
    task = await world.submit()
    grant = await box.grant()
    assert (grant.task_id, grant.lease_epoch, grant.attempt) == (task.id, 1, 1)
    assert grant.run.executor == "builtin:nothing"
    verdict = await box.report(grant, phase=agent_pb2.PHASE_RUNNING, progress=0.25, message="a quarter")
    assert verdict == agent_pb2.LEASE_VERDICT_OK
    assert await box.say(grant, 0, b"hello\n") == 6
    assert await box.say(grant, 3, b"lo\nworld\n") == 12
    point = log_pb2.MetricPoint(step=1, name="loss", value=0.5)
    sent = log_pb2.AppendMetricsRequest(task_id=task.id, lease_epoch=1, points=[point])
    assert (await box.logs.AppendMetrics(sent)).committed == 1
    news = await tasks.WatchTask(task_pb2.WatchTaskRequest(task_id=task.id, wait=WAIT))
    assert (news.task.state, news.task.progress, news.task.message) == (task_pb2.TASK_STATE_RUNNING, 0.25, "a quarter")
    assert (news.log, news.log_offset, news.log_attempt) == (b"hello\nworld\n", 12, 1)
    assert [(one.name, one.value) for one in news.metrics] == [("loss", 0.5)]
    await box.complete(grant, cpu_s=1.5)
    done = await wait_until(tasks, task.id, task_pb2.TASK_STATE_SUCCEEDED)
    assert (done.result.type, done.result.name, done.worker_name, done.cpu_s) == ("thing", "thing@1", "box", 1.5)
    log = await tasks.ReadLog(task_pb2.ReadLogRequest(task_id=task.id, offset=-6))
    assert (log.data, log.offset, log.size_bytes, log.complete) == (b"world\n", 6, 12, True)
    points = (await tasks.ListMetrics(task_pb2.ListMetricsRequest(task_id=task.id))).points
    assert [(one.step, one.name) for one in points] == [(1, "loss")]
    (listed,) = (await tasks.ListTasks(task_pb2.ListTasksRequest(project="default"))).tasks
    assert (listed.id, listed.create_time.seconds > 0) == (task.id, True)


async def test_a_cancel_reaches_the_worker_at_once(
    world: Installation, box: Box, tasks: task_pb2_grpc.TaskServiceStub
) -> None:
    task = await world.submit()
    grant = await box.grant()
    await box.report(grant, phase=agent_pb2.PHASE_RUNNING)
    polling = asyncio.create_task(box.poll())
    await wait_until(tasks, task.id, task_pb2.TASK_STATE_RUNNING)
    began = time.monotonic()
    await tasks.CancelTask(task_pb2.CancelTaskRequest(task_id=task.id, request_id="once"))
    (directive,) = (await polling).directives
    assert time.monotonic() - began < 2
    assert (directive.kind, directive.task_id) == (agent_pb2.DIRECTIVE_KIND_CANCEL, task.id)
    assert await box.report(grant) == agent_pb2.LEASE_VERDICT_CANCEL
    await box.complete(grant, outcome=agent_pb2.OUTCOME_CANCELLED)
    await wait_until(tasks, task.id, task_pb2.TASK_STATE_CANCELLED)
    await tasks.CancelTask(task_pb2.CancelTaskRequest(task_id=task.id, request_id="once"))
    await tasks.RetryTask(task_pb2.RetryTaskRequest(task_id=task.id))
    assert (await box.grant()).lease_epoch == 2


async def test_a_controller_that_restarts_loses_nothing(tmp_path: Path) -> None:
    async with installation(tmp_path / "state") as world:
        running, waiting = await world.submit(), await world.submit()
        worker_id, channel, certificate = await world.enrol("box")
        box = Box(worker_id, channel)
        await box.register()
        grant = await box.grant()
        await box.report(grant, phase=agent_pb2.PHASE_RUNNING)
        await box.say(grant, 0, b"before\n")
    async with installation(tmp_path / "state") as world:
        # The certificate is still good; only the port is another one.
        again = Box(worker_id, world.agent(certificate))
        answer = await again.register(agent_pb2.RunningLease(task_id=grant.task_id, lease_epoch=1))
        assert list(answer.adopt) == [running.id]
        assert await again.say(grant, 7, b"after\n") == 13
        await again.complete(grant)
        async with world.person() as person:
            tasks = task_pb2_grpc.TaskServiceStub(person)
            await wait_until(tasks, running.id, task_pb2.TASK_STATE_SUCCEEDED)
            log = await tasks.ReadLog(task_pb2.ReadLogRequest(task_id=running.id))
            assert log.data == b"before\nafter\n"
        assert (await again.grant()).task_id == waiting.id
        await again.channel.close()
    await channel.close()


async def test_workers_are_shown_drained_and_removed(world: Installation, box: Box) -> None:
    async with world.person() as channel:
        admin = admin_grpc.WorkerServiceStub(channel)
        (shown,) = (await admin.ListWorkers(admin_pb2.ListWorkersRequest())).workers
        assert (shown.name, shown.state, list(shown.capabilities)) == (
            "box",
            admin_pb2.WORKER_STATE_ONLINE,
            ["builtin:nothing"],
        )
        await world.submit()
        grant = await box.grant()
        polling = asyncio.create_task(box.poll())
        drained = await admin.DrainWorker(admin_pb2.DrainWorkerRequest(worker="box"))
        assert (drained.worker.draining, list(drained.worker.task_ids)) == (True, [grant.task_id])
        (directive,) = (await polling).directives
        assert directive.kind == agent_pb2.DIRECTIVE_KIND_DRAIN
        busy = await refusal(lambda: admin.DeleteWorker(admin_pb2.DeleteWorkerRequest(worker="box")))
        assert busy == (grpc.StatusCode.FAILED_PRECONDITION, "WORKER_BUSY")
        await box.complete(grant)
        await admin.DeleteWorker(admin_pb2.DeleteWorkerRequest(worker="box"))
        code, reason = await refusal(box.register)
        assert (code, reason) in {
            (grpc.StatusCode.PERMISSION_DENIED, "CERTIFICATE_REVOKED"),
            (grpc.StatusCode.NOT_FOUND, "WORKER_NOT_FOUND"),
        }


NO_TASK = "0" * 26


@pytest.mark.parametrize(
    ("method", "request_of", "code", "reason"),
    [
        ("GetTask", task_pb2.GetTaskRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("WatchTask", task_pb2.WatchTaskRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("ReadLog", task_pb2.ReadLogRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("ListMetrics", task_pb2.ListMetricsRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("CancelTask", task_pb2.CancelTaskRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("RetryTask", task_pb2.RetryTaskRequest(task_id=NO_TASK), "NOT_FOUND", "TASK_NOT_FOUND"),
        ("ListTasks", task_pb2.ListTasksRequest(project="nowhere"), "NOT_FOUND", "PROJECT_NOT_FOUND"),
    ],
)
async def test_refusals_about_tasks_arrive_with_code_and_reason(
    world: Installation, method: str, request_of: object, code: str, reason: str
) -> None:
    async with world.person() as channel:
        call = getattr(task_pb2_grpc.TaskServiceStub(channel), method)
        assert await refusal(lambda: call(request_of)) == (grpc.StatusCode[code], reason)
    async with world.person(token="lode_wrong") as channel:
        call = getattr(task_pb2_grpc.TaskServiceStub(channel), method)
        assert await refusal(lambda: call(request_of)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("GetWorker", admin_pb2.GetWorkerRequest(worker="nobody")),
        ("DrainWorker", admin_pb2.DrainWorkerRequest(worker="nobody")),
        ("UndrainWorker", admin_pb2.UndrainWorkerRequest(worker="nobody")),
        ("DeleteWorker", admin_pb2.DeleteWorkerRequest(worker="nobody")),
        ("ListWorkers", admin_pb2.ListWorkersRequest()),
        ("AddWorker", admin_pb2.AddWorkerRequest(name="box")),
    ],
)
async def test_refusals_about_workers_arrive_with_code_and_reason(
    world: Installation, method: str, request_of: object
) -> None:
    async with world.person() as channel:
        call = getattr(admin_grpc.WorkerServiceStub(channel), method)
        if method == "AddWorker":
            await call(request_of)
            assert await refusal(lambda: call(request_of)) == (grpc.StatusCode.ALREADY_EXISTS, "WORKER_EXISTS")
        elif method != "ListWorkers":
            assert await refusal(lambda: call(request_of)) == (grpc.StatusCode.NOT_FOUND, "WORKER_NOT_FOUND")
    async with world.person(token="lode_wrong") as channel:
        call = getattr(admin_grpc.WorkerServiceStub(channel), method)
        assert await refusal(lambda: call(request_of)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_refusals_of_agents_arrive_with_code_and_reason(world: Installation, box: Box) -> None:
    await world.submit()
    grant = await box.grant()
    old = agent_pb2.Grant(task_id=grant.task_id, lease_epoch=grant.lease_epoch + 1)
    aborted = (grpc.StatusCode.ABORTED, "LEASE_LOST")
    assert await refusal(lambda: box.complete(old)) == aborted
    assert await refusal(lambda: box.say(old, 0, b"x")) == aborted
    metrics = log_pb2.AppendMetricsRequest(task_id=old.task_id, lease_epoch=old.lease_epoch)
    assert await refusal(lambda: box.logs.AppendMetrics(metrics)) == aborted
    assert await refusal(lambda: box.say(grant, 5, b"x")) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_GAP")
    assert await box.report(old) == agent_pb2.LEASE_VERDICT_LOST
    output = agent_pb2.OutputBlob(role="scores", digest="a" * 64, size_bytes=1)
    missing = await refusal(lambda: box.complete(grant, outputs=[output]))
    assert missing == (grpc.StatusCode.FAILED_PRECONDITION, "OUTPUT_MISSING")
    wrong = await refusal(lambda: box.complete(grant, request_id=""))
    assert wrong == (grpc.StatusCode.INVALID_ARGUMENT, "COMPLETION_INVALID")
    box.session = "of another boot"
    superseded = (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
    assert await refusal(box.poll) == superseded
    assert await refusal(lambda: box.report(grant)) == superseded


async def test_each_port_has_its_own_services_only(world: Installation, box: Box) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await task_pb2_grpc.TaskServiceStub(box.channel).ListTasks(task_pb2.ListTasksRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    async with world.person() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent_grpc.WorkerServiceStub(channel).Poll(agent_pb2.PollRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
