"""The HTTP front of a device: finds the process behind an algorithm and passes pictures on.

    python -m lodeworks_device.serving.front FOLDER ADDRESS

It knows nothing but the route file in FOLDER, which it looks at for every request. It outlives the agent. A request
that meets a process on its way out, or one that is being started again, is sent anew: an inference changes nothing.
"""

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from lodeworks_device.process_record import own_record, write_record
from lodeworks_device.serving import answers
from lodeworks_device.serving.meter import Meter
from lodeworks_device.serving.routes import Route, RouteTable

TAKEN: Final = 3
"""Exit code: a front of this folder runs already."""

PORT_TAKEN: Final = 5
"""Exit code: another program listens at the address."""

LARGEST_PICTURE_BYTES: Final = 64 << 20
_RETRY_FOR_S = 3.0
_RETRY_EACH_S = 0.01
_ANSWER_WITHIN_S = 30.0
_CONNECTIONS = 32
_DRAIN_S = 10.0
_BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)


class Front:
    """Passes pictures on. `folder` holds the route file and the sockets."""

    def __init__(self, folder: Path) -> None:
        self._routes = RouteTable(folder)
        self._folder = folder
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._meters: dict[str, Meter] = {}

    def application(self) -> web.Application:
        """Returns the HTTP application."""
        application = web.Application(client_max_size=LARGEST_PICTURE_BYTES + (1 << 16))
        application.router.add_post("/v1/algorithms/{name:[^/]+}:infer", self.infer)
        application.router.add_get("/v1/algorithms", self.algorithms)
        application.router.add_get("/v2/health/live", self.live)
        application.router.add_get("/v2/health/ready", self.ready)
        application.router.add_get("/metrics", self.metrics)
        application.cleanup_ctx.append(self._closing)
        return application

    async def infer(self, request: web.Request) -> web.Response:
        """Answers with what the algorithm finds in a picture: the body itself, or the first file of a form."""
        name = request.match_info["name"]
        if self._routes.find(name) is None:
            return self._not_served(name)
        try:
            picture = await _picture(request)
        except web.HTTPRequestEntityTooLarge:
            return _json(answers.bad(413, f"a picture has at most {LARGEST_PICTURE_BYTES:,} bytes"), status=413)
        if not picture:
            return _json(answers.bad(400, "send a JPEG or PNG as the body, or as a file of a form"), status=400)
        meter = self._meters.setdefault(name, Meter(time.monotonic))
        with meter.measuring():
            response = await self._ask(name, picture)
            if response.status >= 400:  # noqa: PLR2004 - from here on HTTP says no
                meter.fail()
            return response

    async def algorithms(self, _: web.Request) -> web.Response:
        """Lists what is served."""
        entries = [
            {"name": name, "release": route.release, "package_id": route.package_id, "confidence": route.confidence}
            for name, route in sorted(self._routes.all().items())
        ]
        return _json(answers.good({"algorithms": entries}))

    async def live(self, _: web.Request) -> web.Response:
        """Says that the front runs."""
        return _json(b'{"live":true}')

    async def ready(self, _: web.Request) -> web.Response:
        """Says whether every algorithm that shall run answers."""
        for name, route in self._routes.all().items():
            try:
                async with self._session(route).get("http://algorithm/ready", timeout=_within(2.0)) as answer:
                    await answer.read()
            except (*_BROKEN, TimeoutError):
                return _json(answers.bad(503, f"{name} does not answer yet"), status=503)
        return _json(b'{"ready":true}')

    async def metrics(self, _: web.Request) -> web.Response:
        """Tells counters in the text form of Prometheus."""
        lines = ["# TYPE lode_device_infer_seconds histogram", "# TYPE lode_device_infer_failures_total counter"]
        for name, meter in sorted(self._meters.items()):
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            lines += meter.lines("lode_device_infer", f'algorithm="{quoted}"')
        return web.Response(text="\n".join([*lines, ""]), content_type="text/plain")

    async def _ask(self, name: str, picture: bytes) -> web.Response:
        """Asks the process that the route file names now, until one answers or patience ends."""
        deadline = time.monotonic() + _RETRY_FOR_S
        while True:
            route = self._routes.find(name)
            if route is None:
                return self._not_served(name)
            try:
                return await self._once(route, picture)
            except TimeoutError:
                return _json(answers.bad(504, f"{name} did not answer within {_ANSWER_WITHIN_S:.0f} s"), status=504)
            except _BROKEN:
                if time.monotonic() > deadline:
                    message = f"{name} does not run at the moment; the agent starts it again"
                    return _json(answers.bad(503, message), status=503)
                await asyncio.sleep(_RETRY_EACH_S)

    async def _once(self, route: Route, picture: bytes) -> web.Response:
        query = {} if route.confidence is None else {"confidence": repr(route.confidence)}
        asked = self._session(route).post(
            "http://algorithm/infer", params=query, data=picture, timeout=_within(_ANSWER_WITHIN_S)
        )
        async with asked as answer:
            body = await answer.read()
            headers = {"X-Lode-Release": route.release, "X-Lode-Package": route.package_id}
            return _json(body, status=answer.status, headers=headers)

    def _session(self, route: Route) -> aiohttp.ClientSession:
        session = self._sessions.get(route.socket)
        if session is None:
            connector = aiohttp.UnixConnector(str(self._folder / route.socket), limit=_CONNECTIONS)
            session = self._sessions[route.socket] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return session

    def _not_served(self, name: str) -> web.Response:
        there = ", ".join(sorted(self._routes.all())) or "none"
        return _json(answers.bad(404, f"no algorithm {name!r} runs on this device; there are: {there}"), status=404)

    async def _closing(self, _: web.Application) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(self._sweep())
        yield
        sweeping.cancel()
        for session in self._sessions.values():
            await session.close()

    async def _sweep(self) -> None:
        """Closes the connections to processes that no route has named for a while."""
        idle: set[str] = set()
        while True:
            await asyncio.sleep(_ANSWER_WITHIN_S)
            unused = self._sessions.keys() - {route.socket for route in self._routes.all().values()}
            for socket in unused & idle:
                await self._sessions.pop(socket).close()
            idle = set(unused)


async def _picture(request: web.Request) -> bytes:
    if not request.content_type.startswith("multipart/"):
        return await request.read()
    form = await request.post()
    for value in form.values():
        if isinstance(value, web.FileField):
            return value.file.read()
    return b""


def _within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


@asynccontextmanager
async def serving(folder: Path, host: str, port: int) -> AsyncIterator[None]:
    """Serves while the block runs; then lets what was begun end. Raises OSError when the address is taken."""
    runner = web.AppRunner(Front(folder).application(), access_log=None, shutdown_timeout=_DRAIN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=256).start()
        yield
    finally:
        await runner.cleanup()


async def _serve(folder: Path, host: str, port: int) -> int:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    try:
        async with serving(folder, host, port):
            await stopped.wait()
    except OSError as error:
        print(f"the front cannot listen at {host}:{port}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        return PORT_TAKEN
    return 0


def main(folder: Path, address: str) -> int:
    """Runs the front of a serving folder; returns its exit code."""
    # The paths of the sockets stay short when they are relative: 108 bytes are all that a Unix socket may have.
    os.chdir(folder)
    host, _, port = address.rpartition(":")
    with Path("front.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return TAKEN
        write_record(Path("front.json"), own_record())
        return asyncio.run(_serve(Path(), host.removeprefix("[").removesuffix("]"), int(port)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
