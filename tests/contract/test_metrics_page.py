"""The page of metrics speaks enough HTTP for a collector, and gets in nobody's way."""

import asyncio
import re
from pathlib import Path

import yaml
from lodeworks_controller.adapters.prometheus import PrometheusMeter
from lodeworks_controller.service.figures import Figures
from lodeworks_controller.service.meter import Meter, NoMeter
from lodeworks_controller.transport.metrics import metrics_page

FIGURES = Figures(
    tasks={"queued": 2, "running": 1},
    workers={"online": 1},
    gpus_held=3,
    open_tasks={("train", "queued"): 2},
    queue_age_s=12.5,
    deliveries={"dead": 4},
    roles={"placer": "rack-1"},
    blobs={"stored": (5, 600)},
)


PAGE = Path(__file__).resolve().parents[2] / "docs/operations.md"


async def measure() -> Figures:
    return FIGURES


def use(meter: Meter) -> None:
    meter.rpc("/lodeworks.api.task.v1.TaskService/GetTask", "OK", 0.004)
    meter.rpc("/lodeworks.api.task.v1.TaskService/GetTask", "NOT_FOUND", 0.004)
    meter.committed(0.002, 7)
    meter.granted("train", 3.0)
    meter.granted("train", -0.5)  # the clocks of two controllers
    meter.attempt_ended("train", "failed", "OOM")


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_figures_are_told_in_the_form_of_prometheus() -> None:
    meter = PrometheusMeter(version="1.2.3")
    use(meter)
    use(NoMeter())
    async with metrics_page("127.0.0.1:0", lambda: meter.page(measure)) as port:
        answer = (await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        for line in (
            'lodeworks_build{version="1.2.3"} 1.0',
            'lodeworks_tasks{state="queued"} 2.0',
            'lodeworks_open_tasks{kind="train",state="queued"} 2.0',
            "lodeworks_queue_age_seconds 12.5",
            'lodeworks_workers{state="online"} 1.0',
            "lodeworks_gpus_held 3.0",
            'lodeworks_webhook_deliveries{state="dead"} 4.0',
            'lodeworks_role_held{holder="rack-1",role="placer"} 1.0',
            'lodeworks_blob_bytes{which="stored"} 600.0',
            'lodeworks_rpcs_total{code="NOT_FOUND",method="/lodeworks.api.task.v1.TaskService/GetTask"} 1.0',
            'lodeworks_attempts_total{kind="train",outcome="failed",reason="OOM"} 1.0',
            "lodeworks_committed_units_total 7.0",
            "lodeworks_commit_seconds_count 1.0",
            'lodeworks_task_wait_seconds_count{kind="train"} 2.0',
        ):
            assert f"{line}\n" in answer, line
        assert "process_resident_memory_bytes" in answer
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")


async def test_a_port_in_use_is_no_reason_to_end() -> None:
    async def page() -> bytes:
        return b""

    async with metrics_page("127.0.0.1:0", page) as port:
        async with metrics_page(f"127.0.0.1:{port}", page) as second:
            assert second == 0
        async with metrics_page("", page) as none:
            assert none == 0


async def test_what_the_page_for_operators_alarms_on_is_measured() -> None:
    meter = PrometheusMeter(version="1")
    use(meter)
    told = (await meter.page(measure)).decode()
    there = set(re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE)) | set(re.findall(r"^(\w+)", told, re.MULTILINE))
    text = PAGE.read_text("utf-8")
    named = set(re.findall(r"\b(?:lodeworks|process)_[a-z_]+\b(?=[{`) \[])", text)) - {"lodeworks_formats"}
    assert len(named) >= 15
    assert named <= there, named - there
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", text, re.DOTALL)
    (group,) = yaml.safe_load(rules)["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) >= 10
    labels = {
        label for names in re.findall(r"lodeworks_\w+\{([^}]*)\}", rules) for label in re.findall(r"(\w+)=", names)
    }
    assert labels <= {"state", "reason", "code"}
