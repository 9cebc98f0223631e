"""One algorithm version as a process: loads its package, then answers on a Unix socket until SIGTERM.

    python -m lodeworks_device.serving.algorithm FOLDER

FOLDER is the instance's own: `launch.json` says what to load; `lock` is held while the process lives, so that two
agents cannot start it twice; `process.json` says who runs; `failure.json` why it could not; `s` is the socket, which
appears when the algorithm is loaded and not before.
"""

import asyncio
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from aiohttp import web
from lodeworks_runtime import AlgorithmError, BackendMissingError, PictureError, load_package
from lodeworks_runtime.probe import probe_algorithm

from lodeworks_device.files import read_json, write_json
from lodeworks_device.process_record import own_record, write_record
from lodeworks_device.reasons import Reason
from lodeworks_device.serving import answers
from lodeworks_device.serving.meter import Meter

if TYPE_CHECKING:
    from lodeworks_runtime import Algorithm

_T = TypeVar("_T")
TAKEN, FAILED = 3, 4
"""Exit codes: the instance runs already; it cannot run, and `failure.json` says why."""

MOST_WAITING = 64
"""Pictures that may wait for the network; more are refused, so that a flood costs no memory."""

_LARGEST_BODY_BYTES = 64 << 20
_DRAIN_S = 10.0
_NICE_WHILE_LOADING = 10
_NICE_ZERO = 20  # as RLIMIT_NICE counts


class AlgorithmService:
    """Answers for one loaded algorithm. The network is used by one thread."""

    def __init__(self, algorithm: "Algorithm", package: Path) -> None:
        self._algorithm = algorithm
        self._package = package
        self._classes = {name: place for place, name in enumerate(algorithm.classes)}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self._meter = Meter(time.monotonic)

    def application(self) -> web.Application:
        """Returns the HTTP application."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_post("/infer", self.infer)
        application.router.add_post("/probe", self.probe)
        application.router.add_get("/ready", self.ready)
        application.router.add_get("/stats", self.stats)
        return application

    async def infer(self, request: web.Request) -> web.Response:
        """Answers with the boxes of the picture in the body."""
        data = await request.read()
        if self._meter.in_flight >= MOST_WAITING:
            return _json(answers.bad(503, "too many pictures wait already; send fewer at once"), status=503)
        confidence = float(request.query["confidence"]) if "confidence" in request.query else None
        with self._meter.measuring():
            try:
                answer = await self._do(partial(self._answer, data, confidence))
            except PictureError as error:
                self._meter.fail()
                return _json(answers.bad(400, str(error)), status=400)
        return _json(answer)

    async def probe(self, _: web.Request) -> web.Response:
        """Runs the golden probe of the package."""
        result = await self._do(lambda: probe_algorithm(self._algorithm, self._package))
        runtime, version = self._algorithm.runtime
        told = {
            "ok": result.ok,
            "reason": result.reason,
            "max_box_delta": result.max_box_delta,
            "max_score_delta": result.max_score_delta,
            "latency_ms": round(result.latency_ms, 3),
            "runtime": f"{runtime} {version}",
        }
        return _json(json.dumps(told).encode())

    async def ready(self, _: web.Request) -> web.Response:
        """Answers once the algorithm is loaded."""
        return _json(b'{"ready":true}')

    async def stats(self, _: web.Request) -> web.Response:
        """Tells how the algorithm does."""
        meter = self._meter
        told = {
            "requests": meter.requests,
            "failures": meter.failures,
            "in_flight": meter.in_flight,
            "fps": round(meter.rate, 2),
            "latency_ms": round(meter.latency_ms, 3),
        }
        return _json(json.dumps(told).encode())

    def _answer(self, data: bytes, confidence: float | None) -> bytes:
        return answers.found(self._algorithm.predict_bytes(data, score=confidence), classes=self._classes)

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def serve(application: web.Application, socket: str) -> None:
    """Serves on a Unix socket until SIGTERM, then lets what was begun end."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_DRAIN_S)
    await runner.setup()
    # It appears under its name when it listens, so that nobody meets it earlier.
    await web.UnixSite(runner, f"{socket}.new").start()
    os.rename(f"{socket}.new", socket)  # noqa: PTH104 - a moment's work, before anybody is served
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main(folder: Path) -> int:
    """Runs the process of an instance folder; returns its exit code."""
    os.chdir(folder)
    lock = _lock()
    if lock is None:
        return TAKEN
    with lock, suppress(KeyboardInterrupt):
        Path("failure.json").unlink(missing_ok=True)
        for stale in ("s", "s.new"):
            Path(stale).unlink(missing_ok=True)
        write_record(Path("process.json"), own_record())
        launch = read_json(Path("launch.json")) or {}
        may_return = _step_back()
        try:
            algorithm = load_package(Path(launch["package"]), threads=int(launch["threads"]))
        except AlgorithmError as error:
            reason = Reason.INCOMPATIBLE if isinstance(error, BackendMissingError) else Reason.PACKAGE_INVALID
            return _fail(reason, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a runtime throws at a model is the package's failure
            return _fail(Reason.START_FAILED, f"the algorithm cannot be loaded: {error}")
        # The ceiling of the latency is the gate's to judge.
        manifest = algorithm.manifest
        assert manifest is not None
        algorithm.manifest = replace(manifest, health=replace(manifest.health, max_latency_ms=None))
        if may_return:
            _step_forward()
        service = AlgorithmService(algorithm, Path(launch["package"]))
        asyncio.run(serve(service.application(), "s"))
    return 0


def _step_back() -> bool:
    """Leaves the processor to those that serve, while this one loads; only where the way back is open."""
    allowed = resource.getrlimit(resource.RLIMIT_NICE)[0]
    may_return = os.geteuid() == 0 or allowed == resource.RLIM_INFINITY or allowed >= _NICE_ZERO
    if may_return:
        os.nice(_NICE_WHILE_LOADING)
    return may_return


def _step_forward() -> None:
    """Takes the usual priority again, for every thread that a runtime has started meanwhile."""
    usual = os.getpriority(os.PRIO_PROCESS, 0) - _NICE_WHILE_LOADING
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), usual)


def _lock() -> BinaryIO | None:
    file = Path("lock").open("ab")  # noqa: SIM115 - held as long as the process lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _fail(reason: Reason, message: str) -> int:
    write_json(Path("failure.json"), {"reason": reason.value, "message": message})
    return FAILED


def _json(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
