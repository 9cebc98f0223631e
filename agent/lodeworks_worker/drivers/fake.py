"""A driver that runs nothing and behaves as it is told: for loads of thousands of workers, and for tests."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

from lodeworks_worker.drivers.base import HANDLE_VERSION, Capabilities, Exit, Launch, LogPart, RunHandle, run_name
from lodeworks_worker.drivers.shim import read_json, write_json
from lodeworks_worker.errors import LaunchError, RunLostError
from lodeworks_worker.putting_down import in_thread

_MARK = "fake.json"
_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class FakeScript:
    """What a fake run does.

    It writes `outputs` (path under /out → text) and `log_lines` at once, runs for `run_for_s` and ends with `code`.
    With `line_every_s` a line appears each so many seconds, as many as there are by the end.
    With `dies_silently` it is gone without an exit at that moment. With `refuses` it does not start.
    """

    run_for_s: float = 0.0
    code: int = 0
    signal: int | None = None
    oom: bool = False
    log_lines: tuple[str, ...] = ()
    line_every_s: float = 0.0
    outputs: Mapping[str, str] = field(default_factory=dict)
    dies_silently: bool = False
    ignores_term: bool = False
    refuses: str | None = None


class FakeDriver:
    """Follows the script that `script` gives for a launch; a second driver on the same folders sees the same runs."""

    name = "fake"

    def __init__(
        self,
        root: Path,
        *,
        script: Callable[[Launch], FakeScript],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._root = root
        self._script = script
        self._clock = clock
        self._sleep = sleep

    async def capabilities(self) -> Capabilities:
        """Says that anything runs here."""
        return Capabilities(name=self.name, version="1", runs_images=True, runs_programs=True, gpus=True)

    async def start(self, launch: Launch) -> RunHandle:
        """Notes when the run began, once."""
        mark = launch.folder / _MARK
        if not mark.exists():
            script = self._script(launch)
            if script.refuses is not None:
                raise LaunchError(script.refuses)
            await in_thread(_perform, launch, script, self._clock())
        return _handle(launch.task_id, launch.lease_epoch, launch.folder)

    async def recover(self, handle: RunHandle) -> None:
        """Takes up any run that has not died silently."""
        self._exit_now(handle)

    async def wait(self, handle: RunHandle) -> Exit:
        """Waits for the end that the script, or a stop, has set."""
        while True:
            ended = self._exit_now(handle)
            if ended is not None:
                return ended
            await self._sleep(_TICK_S)

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Returns the script's lines as bytes."""
        told = read_json(str(_folder(handle) / _MARK)) or {}
        text = str(told.get("log", ""))
        every_s = float(str(told.get("line_every_s", 0.0)))
        if every_s:
            elapsed_s = min(self._clock(), float(str(told["ends_at"]))) - float(str(told["began_at"]))
            text = "".join(text.splitlines(keepends=True)[: max(0, int(elapsed_s / every_s))])
        data = text.encode()[offset:]
        return LogPart(data=data, next_offset=offset + len(data))

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Ends the run now, or after the grace when the script ignores SIGTERM."""
        mark = _folder(handle) / _MARK
        told = read_json(str(mark))
        if told is None or "removed" in told:
            return
        now = self._clock()
        if now < float(str(told["ends_at"])):
            late = bool(told["ignores_term"]) and grace_s > 0
            number = SIGKILL if told["ignores_term"] else SIGTERM
            end = {"code": None, "signal": int(number), "oom": False, "dies_silently": False}
            write_json(str(mark), {**told, **end, "ends_at": now + (grace_s if late else 0.0)})
        try:
            await self.wait(handle)
        except RunLostError:
            return

    async def remove(self, handle: RunHandle) -> None:
        """Forgets the run."""
        mark = _folder(handle) / _MARK
        told = read_json(str(mark))
        if told is not None:
            write_json(str(mark), {**told, "removed": True})

    async def found(self) -> Sequence[RunHandle]:
        """Lists the runs that were started and not removed."""
        found = []
        for mark in sorted(self._root.glob(f"*/{_MARK}")):
            told = read_json(str(mark)) or {}
            if "removed" not in told:
                found.append(_handle(str(told["task_id"]), int(str(told["lease_epoch"])), mark.parent))
        return found

    def _exit_now(self, handle: RunHandle) -> Exit | None:
        told = read_json(str(_folder(handle) / _MARK))
        if told is None or "removed" in told:
            raise RunLostError(f"fake run {run_name(handle.task_id, handle.lease_epoch)} is not known")
        if self._clock() < float(str(told["ends_at"])):
            return None
        if told["dies_silently"]:
            raise RunLostError(f"fake run {run_name(handle.task_id, handle.lease_epoch)} died silently")
        number = told["signal"]
        signalled = isinstance(number, int)
        return Exit(
            code=None if signalled else int(str(told["code"])),
            signal=number if isinstance(number, int) else None,
            oom=bool(told["oom"]),
        )


def _perform(launch: Launch, script: FakeScript, now: float) -> None:
    for name, text in script.outputs.items():
        target = launch.out_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    told = {
        **asdict(script),
        "task_id": launch.task_id,
        "lease_epoch": launch.lease_epoch,
        "began_at": now,
        "ends_at": now + script.run_for_s,
        "log": "".join(f"{line}\n" for line in script.log_lines),
    }
    launch.folder.mkdir(parents=True, exist_ok=True)
    mark = launch.folder / _MARK
    begun = launch.folder / f"{_MARK}.{uuid.uuid4().hex}"
    write_json(str(begun), told)
    with contextlib.suppress(FileExistsError):  # another start was faster: then that one is the run
        mark.hardlink_to(begun)
    begun.unlink()


def _handle(task_id: str, lease_epoch: int, folder: Path) -> RunHandle:
    told = json.dumps({"folder": str(folder)}).encode()
    return RunHandle(
        version=HANDLE_VERSION, driver=FakeDriver.name, task_id=task_id, lease_epoch=lease_epoch, driver_state=told
    )


def _folder(handle: RunHandle) -> Path:
    return Path(json.loads(handle.driver_state)["folder"])
