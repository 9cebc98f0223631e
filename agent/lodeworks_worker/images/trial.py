"""One run of an image on made inputs, by the same staging and the same driver as a task's run."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lodeworks_formats.protocol import render_config

from lodeworks_worker.cache import Cache
from lodeworks_worker.drivers.base import Driver, Exit, Launch, RunHandle
from lodeworks_worker.executors import Choice
from lodeworks_worker.grant import Grant, Input, Limits, Resources, RunPolicy, RunSpec
from lodeworks_worker.harvest.plain_file import open_plain_to_write
from lodeworks_worker.images.made_inputs import CLASS_NAMES, LocalTransfer
from lodeworks_worker.log_pump import LOG_FILE
from lodeworks_worker.settle import last_lines
from lodeworks_worker.staging.stage import Stager

STOP_GRACE_S = 10.0
_BEGUN_S = 0.1


@dataclass(frozen=True, slots=True)
class Bounds:
    """What every run of a check stands under."""

    run_s: float
    policy: RunPolicy
    memory_bytes: int = 0
    shm_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run of the image shall do.

    Attributes:
        name: Of the run: its folder, its container, its task id.
        operations: Any of train, mine, infer.
        inputs: Views and the model's files.
        settings: Of the image's template, with those of the caller over them.
        export_format: As the template asks for.
        spoil: Breaks /in before the run, for its error cases.
        stop: Whether it is asked to stop as soon as it says something.
    """

    name: str
    operations: tuple[str, ...]
    inputs: tuple[Input, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    export_format: str = ""
    object_type: int = 2
    spoil: Callable[[Path], None] | None = None
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the image ended. `exit` is None when it had to be stopped for its time."""

    wish: Wish
    folder: Path
    exit: Exit | None
    stopped: bool = False
    """Whether it was still running when it was asked to stop."""

    @property
    def out(self) -> Path:
        """What it wrote."""
        return self.folder / "out"

    @property
    def how(self) -> str:
        """Says how it ended, with its last lines."""
        if self.exit is None:
            told = "it did not end in time and was stopped"
        elif self.exit.oom:
            told = "memory ran out"
        else:
            told = f"signal {self.exit.signal}" if self.exit.signal else f"exit code {self.exit.code}"
        lines = last_lines(self.folder)
        return f"{told}; it said last: {' | '.join(lines)}" if lines else f"{told}, no output"


@dataclass(slots=True)
class Laboratory:
    """Runs an image again and again."""

    image: str
    driver: Driver
    cache: Cache
    transfer: LocalTransfer
    folder: Path
    bounds: Bounds
    gpu_uuids: tuple[str, ...] = ()

    async def run(self, wish: Wish) -> Ended:
        """Stages, runs and removes; what the run wrote stays."""
        grant = self._grant(wish)
        folder = self.folder / grant.name
        folder.mkdir(parents=True)
        choice = Choice(driver=self.driver_name, read_only_in=True, image=self.image)
        await Stager(self.cache, self.transfer).stage(grant, roots=choice.roots(folder), read_only_in=True)
        if wish.spoil is not None:
            wish.spoil(folder / "in")
        return await self._launched(wish, choice.launch(grant, folder=folder), folder)

    @property
    def driver_name(self) -> str:
        """The name of the driver that runs images."""
        return "docker"

    async def _launched(self, wish: Wish, launch: Launch, folder: Path) -> Ended:
        handle = await self.driver.start(launch)
        waiting = asyncio.ensure_future(self.driver.wait(handle))
        try:
            stopped = False
            if wish.stop:
                stopped = await self._begun(waiting, folder, handle)
                if stopped:
                    await self.driver.stop(handle, grace_s=STOP_GRACE_S)
            await asyncio.wait({waiting}, timeout=self.bounds.run_s)
            ended = waiting.result() if waiting.done() else None
            if ended is None:
                await self.driver.stop(handle, grace_s=1.0)
            said = await self._said(handle)
            with open_plain_to_write(folder / "out" / LOG_FILE) as file:
                file.write(said)
                file.truncate()
            return Ended(wish, folder, ended, stopped)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await self.driver.remove(handle)

    async def _begun(self, waiting: "asyncio.Future[Exit]", folder: Path, handle: RunHandle) -> bool:
        """Waits for a first sign of a run; says whether it is still going on then."""
        deadline = asyncio.get_running_loop().time() + self.bounds.run_s
        while not waiting.done() and asyncio.get_running_loop().time() < deadline:
            if (folder / "out" / "monitor.txt").exists() or (await self.driver.logs(handle, offset=0)).data:
                break
            await asyncio.sleep(_BEGUN_S)
        return not waiting.done()

    async def _said(self, handle: RunHandle) -> bytes:
        parts, offset = [], 0
        while (part := await self.driver.logs(handle, offset=offset)).next_offset != offset:
            parts.append(part.data)
            offset = part.next_offset
        return b"".join(parts)

    def _grant(self, wish: Wish) -> Grant:
        run = RunSpec(
            executor=f"image:{self.image}",
            operations=wish.operations,
            class_names=CLASS_NAMES,
            settings_yaml=render_config(wish.settings) if wish.settings else "",
            inputs=wish.inputs,
            resources=Resources(memory_bytes=self.bounds.memory_bytes, shm_bytes=self.bounds.shm_bytes),
            limits=Limits(run_s=self.bounds.run_s),
            export_format=wish.export_format,
            object_type=wish.object_type,
            policy=self.bounds.policy,
        )
        return Grant(task_id=wish.name, lease_epoch=1, run=run, gpu_uuids=self.gpu_uuids)
