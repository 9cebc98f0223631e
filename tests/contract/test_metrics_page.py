"""The page of metrics speaks enough HTTP for a collector, and gets in nobody's way."""

import asyncio

from lodeworks_controller.service.figures import Figures
from lodeworks_controller.transport.metrics import metrics_page

FIGURES = Figures(tasks={"queued": 2, "running": 1}, workers={"online": 1}, gpus_held=3)


async def measure() -> Figures:
    return FIGURES


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_figures_are_told_in_the_form_of_prometheus() -> None:
    async with metrics_page("127.0.0.1:0", measure) as port:
        answer = (await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert 'lodeworks_tasks{state="queued"} 2\n' in answer
        assert 'lodeworks_workers{state="online"} 1\n' in answer
        assert "lodeworks_gpus_held 3\n" in answer
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")


async def test_a_port_in_use_is_no_reason_to_end() -> None:
    async with metrics_page("127.0.0.1:0", measure) as port:
        async with metrics_page(f"127.0.0.1:{port}", measure) as second:
            assert second == 0
        async with metrics_page("", measure) as none:
            assert none == 0
