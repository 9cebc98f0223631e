"""Runs executors as containers of a docker engine."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from lodeworks_worker.drivers.base import HANDLE_VERSION, Capabilities, Exit, Launch, LogPart, RunHandle
from lodeworks_worker.errors import DriverError, LaunchError, RunLostError
from lodeworks_worker.images.registry import PullError, Registries, present, pull
from lodeworks_worker.outcome import FailureReason
from lodeworks_worker.putting_down import in_thread

_T = TypeVar("_T")
_LABEL_TASK = "lodeworks.task"
_LABEL_EPOCH = "lodeworks.epoch"
_LABEL_WORKER = "lodeworks.worker"
_POLL_S = 0.2
_LOG_PART_BYTES = 1 << 20
_CONFLICT = 409
_SIGNAL_BASE = 128
_SIGNALS = frozenset({6, 9, 11, 15})
# The engine refuses 0 and -1; this is "never rotate", so that a byte offset keeps its meaning.
_LOG_OPTIONS = {"max-size": "1000000g"}


class DockerDriver:
    """Runs images. Containers are named by task and epoch and labelled with the worker that they belong to.

    `engine` makes the client, so that a worker without docker starts too; `user` is "uid:gid" inside the container.
    """

    name = "docker"

    def __init__(
        self,
        worker_id: str,
        *,
        engine: Callable[[], docker.DockerClient] = docker.from_env,
        user: str | None = None,
        registries: Registries | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._engine = engine
        self._client: docker.DockerClient | None = None
        self._user = user or f"{os.getuid()}:{os.getgid()}"
        self._registries = registries or Registries()
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="docker")

    async def capabilities(self) -> Capabilities:
        """Asks the engine for its version; no engine is an answer, not an error."""
        try:
            version = await self._call(lambda client: client.version()["Version"])
            info: Mapping[str, Any] = await self._call(lambda client: client.info())
        except (DockerException, DriverError) as error:
            return Capabilities(name=self.name, unavailable=f"no docker engine answers: {error}")
        return Capabilities(
            name=self.name,
            version=str(version),
            runs_images=True,
            limits_memory=True,
            read_only_in=True,
            gpus="nvidia" in info.get("Runtimes", {}),
        )

    async def start(self, launch: Launch) -> RunHandle:
        """Creates and starts the container, or finds the one that an earlier start made.

        Only a container that never ran is started: what has ended stays ended.
        """
        if launch.image is None:
            raise LaunchError("the docker driver runs images, not programs")
        container_id = await self._ask(lambda client: self._create(client, launch))
        await self._ask(lambda client: _start_created(client, container_id))
        state = {"container": container_id}
        return RunHandle(
            version=HANDLE_VERSION,
            driver=self.name,
            task_id=launch.task_id,
            lease_epoch=launch.lease_epoch,
            driver_state=json.dumps(state).encode(),
        )

    async def recover(self, handle: RunHandle) -> None:
        """Takes up the container, running or ended."""
        if await self._inspect(handle) is None:
            raise RunLostError(f"the container of task {handle.task_id} is gone")

    async def wait(self, handle: RunHandle) -> Exit:
        """Waits for the end of the container; an engine that restarts meanwhile is waited for as well."""
        while True:
            told = await self._inspect(handle)
            if told is None:
                raise RunLostError(f"the container of task {handle.task_id} is gone")
            state = told["State"]
            if state["Status"] in {"exited", "dead"}:
                return _exit_of(state)
            await asyncio.sleep(_POLL_S)

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Decodes whole lines of the engine's json-file; where it cannot be read, cuts the engine's own answer."""
        told = await self._inspect(handle)
        if told is None or not told.get("LogPath"):
            return LogPart(data=b"", next_offset=offset)
        path = Path(told["LogPath"])
        if os.access(path, os.R_OK):
            return await in_thread(_read_json_file, path, offset)
        data = await self._ask(lambda client: client.containers.get(_id(handle)).logs(stdout=True, stderr=True))
        part = bytes(data)[offset : offset + _LOG_PART_BYTES]
        return LogPart(data=part, next_offset=offset + len(part))

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Sends SIGTERM, after the grace SIGKILL, through the engine."""

        def stop(client: docker.DockerClient) -> None:
            with contextlib.suppress(NotFound):
                container = client.containers.get(_id(handle))
                if container.status == "created":
                    container.remove(force=True)
                else:
                    container.stop(timeout=max(0, round(grace_s)))

        await self._ask(stop)

    async def remove(self, handle: RunHandle) -> None:
        """Removes the container, ending it if need be."""

        def remove(client: docker.DockerClient) -> None:
            with contextlib.suppress(NotFound):
                client.containers.get(_id(handle)).remove(force=True, v=True)

        await self._ask(remove)

    async def found(self) -> Sequence[RunHandle]:
        """Lists the containers that carry this worker's label."""
        filters: dict[str, str | list[str] | bool] = {"label": f"{_LABEL_WORKER}={self._worker_id}"}
        containers = await self._ask(lambda client: client.containers.list(all=True, filters=filters))
        return [
            RunHandle(
                version=HANDLE_VERSION,
                driver=self.name,
                task_id=container.labels[_LABEL_TASK],
                lease_epoch=int(container.labels[_LABEL_EPOCH]),
                driver_state=json.dumps({"container": container.id}).encode(),
            )
            for container in containers
        ]

    async def _ask(self, question: Callable[[docker.DockerClient], _T]) -> _T:
        """Asks the engine; what it refuses is a DriverError."""
        try:
            return await self._call(question)
        except (DockerException, requests.exceptions.RequestException) as error:
            raise DriverError(f"the docker engine: {error}") from error

    async def _call(self, question: Callable[[docker.DockerClient], _T]) -> _T:
        """Asks the engine in a thread: the SDK blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: question(self._connected()))

    def _connected(self) -> docker.DockerClient:
        if self._client is None:
            self._client = self._engine()
        return self._client

    async def _inspect(self, handle: RunHandle) -> Mapping[str, Any] | None:
        """Returns what the engine knows of the container; None when there is none. Waits for an engine that is away."""
        while True:
            try:
                told: Mapping[str, Any] = await self._call(lambda client: client.api.inspect_container(_id(handle)))
            except NotFound:
                return None
            except (APIError, requests.exceptions.RequestException):
                await asyncio.sleep(_POLL_S * 5)
            else:
                return told

    def _create(self, client: docker.DockerClient, launch: Launch) -> str:
        try:
            image_id = self._present(client, str(launch.image))
            container = client.containers.create(image_id, **self._options(launch))
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise LaunchError(f"the docker engine refuses the run: {error.explanation}") from error
            container = _await_named(client, launch.name)
            if container.labels.get(_LABEL_TASK) != launch.task_id:
                raise LaunchError(f"a foreign container has the name {launch.name}; remove it") from error
        return str(container.id)

    def _present(self, client: docker.DockerClient, reference: str) -> str:
        """Returns the id of an image on this machine, pulling it if need be."""
        image = present(client, reference)
        if image is None:
            try:
                image = pull(client, reference, registries=self._registries)
            except PullError as error:
                raise LaunchError(
                    f"{error}; or build it on this machine under that name", failure=FailureReason.IMAGE_PULL
                ) from error
        return str(image.id)

    def _options(self, launch: Launch) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": launch.name,
            "detach": True,
            "user": launch.user or self._user,
            "environment": dict(launch.environment),
            "labels": {
                _LABEL_TASK: launch.task_id,
                _LABEL_EPOCH: str(launch.lease_epoch),
                _LABEL_WORKER: self._worker_id,
            },
            "volumes": {
                str(launch.in_dir): {"bind": "/in", "mode": "ro"},
                str(launch.out_dir): {"bind": "/out", "mode": "rw"},
            },
            "log_config": docker.types.LogConfig(type="json-file", config=_LOG_OPTIONS),
        }
        if launch.shm_size_bytes:
            options["shm_size"] = launch.shm_size_bytes
        if launch.memory_bytes:
            options["mem_limit"] = launch.memory_bytes
        if launch.cpus:
            options["nano_cpus"] = round(launch.cpus * 1e9)
        if launch.network is not None:
            options["network_mode"] = launch.network
        if launch.gpus:
            wanted = docker.types.DeviceRequest(device_ids=list(launch.gpus), capabilities=[["gpu"]])
            options["device_requests"] = [wanted]
        return options


def engine_at(host: str | None) -> Callable[[], docker.DockerClient]:
    """Returns what connects to an engine; None means the socket of this machine."""
    return docker.from_env if host is None else lambda: docker.DockerClient(base_url=host)


def _await_named(client: docker.DockerClient, name: str) -> Container:
    """Returns the container that has the name; another start that is still at it has reserved the name first."""
    for _ in range(100):
        with contextlib.suppress(NotFound):
            return client.containers.get(name)
        time.sleep(_POLL_S / 10)
    raise LaunchError(f"the engine says that the name {name} is taken, and shows no such container; try again")


def _start_created(client: docker.DockerClient, container_id: str) -> None:
    """Starts a container that never ran. One that cannot start is removed: it would stay Created for ever."""
    container = client.containers.get(container_id)
    if container.status != "created":
        return
    try:
        container.start()
    except APIError as error:
        container.remove(force=True)
        no_gpu = "could not select device driver" in str(error.explanation)
        raise LaunchError(
            "the docker engine has no GPU to give; install the NVIDIA container toolkit"
            if no_gpu
            else f"the container does not start: {error.explanation}",
            failure=FailureReason.NO_WORKER if no_gpu else FailureReason.WORKER,
        ) from error


def _id(handle: RunHandle) -> str:
    return str(json.loads(handle.driver_state)["container"])


def _exit_of(state: Mapping[str, Any]) -> Exit:
    code = int(state["ExitCode"])
    oom = bool(state["OOMKilled"])
    if code - _SIGNAL_BASE in _SIGNALS:
        return Exit(code=None, signal=code - _SIGNAL_BASE, oom=oom)
    return Exit(code=code, oom=oom)


def _read_json_file(path: Path, offset: int) -> LogPart:
    """Decodes the engine's file from a byte offset to its last whole line."""
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read(_LOG_PART_BYTES)
    whole = raw[: raw.rfind(b"\n") + 1]
    pieces = [json.loads(line)["log"].encode("utf-8", errors="replace") for line in whole.splitlines() if line]
    return LogPart(data=b"".join(pieces), next_offset=offset + len(whole))
