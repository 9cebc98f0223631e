"""Watches one running executor: moves its logs and metrics, reads its progress, keeps its limits."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from lodeworks_worker.drivers.base import Driver, Exit, RunHandle
from lodeworks_worker.errors import UnreachableError
from lodeworks_worker.grant import Limits
from lodeworks_worker.harvest.harvest import read_monitor
from lodeworks_worker.log_pump import LogPump
from lodeworks_worker.metrics import pump_metrics
from lodeworks_worker.outcome import FailureReason
from lodeworks_worker.putting_down import in_thread, put_down

_TICK_S = 0.25
_AWAY_TICK_S = 2.0
_JOURNAL_S = 1.0
_TELL_S = 2.0
_MEASURE_S = 1.0
_BLOCK_BYTES = 512


@dataclass(slots=True)
class Follower:
    """Follows a run until it ends.

    `end` orders the run to end for a reason; `journal` stores how far logs and metrics came; `tell` has the next report
    sent now; `clock` is wall time, since a limit counts on over a restart of the worker.
    """

    folder: Path
    driver: Driver
    handle: RunHandle
    pump: LogPump
    limits: Limits
    out_bytes: int
    started_at: float
    clock: Callable[[], float]
    end: Callable[[FailureReason, str], Awaitable[None]]
    journal: Callable[[], Awaitable[None]]
    tell: Callable[[], None]
    progress: float = -1.0
    message: str = ""
    _measured_at: float = 0.0
    _told_at: float = 0.0

    async def follow(self) -> Exit:
        """Returns how the run ended. Raises RunLostError, LeaseLostError."""
        waiting = asyncio.ensure_future(self.driver.wait(self.handle))
        signs: object = None
        sign_at = journaled_at = self.clock()
        journaled = self.pump.offsets
        try:
            while not waiting.done():
                pause_s = await self._move()
                now = self.clock()
                if (self._signs() != signs) or pause_s == _AWAY_TICK_S:
                    signs, sign_at = self._signs(), now
                await self._keep_limits(now, silent_s=now - sign_at)
                if self.pump.offsets != journaled and now - journaled_at >= _JOURNAL_S:
                    await self.journal()
                    journaled, journaled_at = self.pump.offsets, now
                await asyncio.wait({waiting}, timeout=pause_s)
            return waiting.result()
        finally:
            await put_down(waiting)

    async def _move(self) -> float:
        """Moves what there is; returns how long to pause, 0 while there is more."""
        self._read_progress()
        try:
            moved = await self.pump.pump_out(self.driver, self.handle)
            await self.pump.pump_worker()
            self.pump.offsets = await pump_metrics(
                self.pump.control, self.pump.scope, folder=self.folder, offsets=self.pump.offsets
            )
        except UnreachableError:
            return _AWAY_TICK_S
        return 0.0 if moved else _TICK_S

    def _read_progress(self) -> None:
        told = read_monitor(self.folder)
        if told is None or (told.fraction, told.message[:200]) == (self.progress, self.message):
            return
        self.progress, self.message = told.fraction, told.message[:200]
        if self.clock() - self._told_at >= _TELL_S:
            # Who watches the run sees it move; without news the reports keep their own pace.
            self._told_at = self.clock()
            self.tell()

    def _signs(self) -> object:
        return (self.pump.offsets, self.progress, self.message)

    async def _keep_limits(self, now: float, *, silent_s: float) -> None:
        if self.out_bytes and now - self._measured_at >= _MEASURE_S:
            self._measured_at = now
            used = await in_thread(used_bytes, self.folder / "out")
            if used > self.out_bytes:
                allowed = f"its executor may write {self.out_bytes} (`lode executor set … --out`)"
                message = f"the run wrote {used} bytes to /out; {allowed}"
                await self.end(FailureReason.USER, message)
        if self.limits.run_s and now - self.started_at > self.limits.run_s:
            await self.end(FailureReason.TIMEOUT, f"the run took longer than its limit of {self.limits.run_s:g} s")
        elif self.limits.stall_s and silent_s > self.limits.stall_s:
            await self.end(FailureReason.STALL, f"no output and no progress for {silent_s:.0f} s")


def used_bytes(folder: Path) -> int:
    """Returns how much room the files below a folder take; what vanishes meanwhile counts nothing. Blocks."""
    used, waiting = 0, [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        used += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
    return used
