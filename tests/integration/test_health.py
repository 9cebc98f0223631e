"""A controller tells whether it serves, what it serves, how it does, and why it wrote a line of its log."""

import asyncio
import json
import logging
import socket
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
from controller_world import Installation, installation
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.log_lines import CAUSE, Cause, JsonLines, TextLines

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def health_of(channel: grpc.aio.Channel) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    return int(answer.status)


async def services_of(channel: grpc.aio.Channel) -> set[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    async for answer in call:
        return {service.name for service in answer.list_services_response.service}
    return set()


async def test_both_listeners_serve_until_they_stop_and_what_runs_goes_on_meanwhile(tmp_path: Path):
    leaving = installation(tmp_path, drain_s=1.0)
    place = await leaving.__aenter__()
    _, agent, _ = await place.enrol("rack-1")
    async with place.person(token="") as person, agent:
        assert await health_of(person) == await health_of(agent) == SERVING
        stopping = asyncio.create_task(leaving.__aexit__(None, None, None))
        async with asyncio.timeout(10):
            while await health_of(person) == SERVING:  # noqa: ASYNC110 (the other side changes)
                await asyncio.sleep(0.01)
        assert await health_of(agent) == NOT_SERVING
        await stopping


async def test_each_listener_lists_its_own_services_to_whoever_asks(tmp_path: Path):
    async with installation(tmp_path) as place:
        _, agent, _ = await place.enrol("rack-1")
        async with place.person(token="") as person, agent:
            people, agents = await services_of(person), await services_of(agent)
    assert "lodeworks.api.task.v1.TaskService" in people
    assert "lodeworks.api.schedule.v1.ScheduleService" in people
    assert "grpc.health.v1.Health" in people & agents
    assert "lodeworks.agent.worker.v1.WorkerService" in agents - people


async def test_the_page_of_metrics_counts_what_happened(tmp_path: Path):
    port = free_port()
    async with installation(tmp_path, listen_metrics=f"127.0.0.1:{port}") as place:
        task = await place.submit(title="doomed", spec={"bad": True})
        async with place.person() as person:
            stub = task_pb2_grpc.TaskServiceStub(person)
            await stub.GetTask(task_pb2.GetTaskRequest(task_id=task.id))
            with pytest.raises(grpc.RpcError):
                await stub.GetTask(task_pb2.GetTaskRequest(task_id="nothing"))
        await ended(place, task.id)

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return answer.read().decode()

        page = await asyncio.to_thread(read)
    method = "/lodeworks.api.task.v1.TaskService/GetTask"
    assert f'lodeworks_rpcs_total{{code="OK",method="{method}"}} 1.0' in page
    assert f'lodeworks_rpcs_total{{code="NOT_FOUND",method="{method}"}} 1.0' in page
    assert 'lodeworks_tasks{state="failed"} 1.0' in page
    commits = next(line for line in page.splitlines() if line.startswith("lodeworks_commit_seconds_count"))
    assert float(commits.split()[1]) > 0


async def ended(place: Installation, task_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with place.controller.ground.store.snapshot() as tx:
                if (await tx.tasks.get(task_id)).state is TaskState.FAILED:
                    return
            await asyncio.sleep(0.02)


class Kept(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def test_a_line_of_the_log_says_for_which_request_and_whom_it_was_written(tmp_path: Path):
    kept = Kept(JsonLines())
    logger = logging.getLogger("lodeworks_controller.wiring.controller")
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    try:
        async with installation(tmp_path) as place, place.person() as person:
            stub = task_pb2_grpc.TaskServiceStub(person)
            with pytest.raises(grpc.RpcError):
                await stub.GetTask(task_pb2.GetTaskRequest(task_id="nothing"), metadata=(("x-request-id", "mine-7"),))
    finally:
        logger.removeHandler(kept)
        logger.setLevel(logging.NOTSET)
    (line,) = [json.loads(line) for line in kept.lines if "mine-7" in line]
    assert line["level"] == "DEBUG"
    assert line["method"].endswith("/GetTask")
    assert line["task_id"] == "nothing"
    assert line["principal"].startswith("user:")
    assert "NOT_FOUND" in line["message"]


def test_lines_for_people_and_programs_carry_tracebacks_and_causes():
    token = CAUSE.set(Cause("r1", "/x/Y", "user:u", "t1"))
    try:
        int("broken")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "it %s", ("failed",), sys.exc_info())
        document = json.loads(JsonLines().format(record))
        text = TextLines().format(record)
    finally:
        CAUSE.reset(token)
    assert (document["message"], document["request_id"], document["task_id"]) == ("it failed", "r1", "t1")
    assert "ValueError: invalid literal" in document["traceback"]
    assert "it failed [request_id=r1 method=/x/Y principal=user:u task_id=t1]" in text
