"""The page of metrics: plain text in the Prometheus form, on loopback."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

_log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Page = Callable[[], Awaitable[bytes]]
"""Returns what a collector reads, in the text form of Prometheus."""


@contextlib.asynccontextmanager
async def metrics_page(listen: str, page: Page) -> AsyncIterator[int]:
    """Answers ``GET /metrics`` on the port it yields, until left.

    A port in use is a warning and yields 0, since nothing else depends on it.
    """
    server: asyncio.Server | None = None
    host, _, port = listen.rpartition(":")
    if listen:
        try:
            server = await asyncio.start_server(lambda read, write: _answer(read, write, page), host, int(port))
        except (OSError, ValueError) as error:
            _log.warning("no metrics: %s cannot be listened on (%s); choose another --listen-metrics", listen, error)
    try:
        yield server.sockets[0].getsockname()[1] if server else 0
    finally:
        if server is not None:
            server.close()
            await server.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: Page) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            request = await reader.readline()
            while (await reader.readline()).strip():
                pass  # the headers tell nothing that matters here
            if not request.startswith(b"GET /metrics"):
                writer.write(_NOT_FOUND)
            else:
                body = await page()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
    except (TimeoutError, OSError, ValueError):
        pass  # who asked went away, or does not speak HTTP
    except Exception:  # noqa: BLE001 (a page of figures must not end anything)
        _log.exception("the metrics could not be measured")
    finally:
        writer.close()
