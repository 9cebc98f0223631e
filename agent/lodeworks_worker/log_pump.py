"""Brings a run's output from its driver to /out/ymir-executor-out.log and to the controller, by offset.

The driver keeps every byte until the run is removed, so the driver is the spool: nothing is held in memory, nothing is
lost while the controller is away, and after a restart the journaled offsets say where to go on. What was sent and not
journaled is sent again, and the controller trims it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from lodeworks_worker.control_plane import ControlPlane, Scope
from lodeworks_worker.drivers.base import Driver, RunHandle
from lodeworks_worker.errors import LogGapError
from lodeworks_worker.harvest.plain_file import open_plain_to_write
from lodeworks_worker.journal import Offsets

OUT, WORKER = "out", "worker"
LOG_FILE = "ymir-executor-out.log"
_WORKER_PART_BYTES = 1 << 18


@dataclass(slots=True)
class LogPump:
    """The two log streams of one run: `out` is the executor's output, `worker` the worker's own lines.

    `offsets` is what the controller has; whoever owns the pump journals it.
    """

    scope: Scope
    folder: Path
    control: ControlPlane
    offsets: Offsets
    _skip_to: int = 0

    async def pump_out(self, driver: Driver, handle: RunHandle) -> bool:
        """Moves one part of the executor's output; says whether there was any."""
        part = await driver.logs(handle, offset=self.offsets.driver)
        if not part.data:
            if part.next_offset != self.offsets.driver:
                self.offsets = replace(self.offsets, driver=part.next_offset)
                return True
            return False
        start, end = self.offsets.out, self.offsets.out + len(part.data)
        self._write(part.data, start)
        known = min(max(self._skip_to - start, 0), len(part.data))
        if known < len(part.data):
            try:
                await self.control.append_log(self.scope, stream=OUT, offset=start + known, data=part.data[known:])
            except LogGapError as gap:
                # The controller stands further back. Driver offsets cannot be computed from ours: read from the start.
                self._skip_to = gap.committed
                self.offsets = replace(self.offsets, driver=0, out=0)
                return True
        self.offsets = replace(self.offsets, driver=part.next_offset, out=end)
        return True

    async def pump_worker(self) -> bool:
        """Moves one part of the worker's own lines; says whether there was any."""
        data = _read(self.worker_log, self.offsets.worker)
        if not data:
            return False
        try:
            await self.control.append_log(self.scope, stream=WORKER, offset=self.offsets.worker, data=data)
        except LogGapError as gap:
            self.offsets = replace(self.offsets, worker=gap.committed)
            return True
        self.offsets = replace(self.offsets, worker=self.offsets.worker + len(data))
        return True

    @property
    def worker_log(self) -> Path:
        """The file of the worker's own lines."""
        return self.folder / "worker.log"

    def say(self, line: str) -> None:
        """Adds a line of the worker's own."""
        with self.worker_log.open("a", encoding="utf-8") as file:
            file.write(line.rstrip("\n") + "\n")

    def _write(self, data: bytes, offset: int) -> None:
        """Writes decoded output where it belongs, over what a killed worker wrote and could not journal."""
        with open_plain_to_write(self.folder / "out" / LOG_FILE) as file:
            file.seek(offset)
            file.write(data)
            file.truncate()


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_WORKER_PART_BYTES)
    except FileNotFoundError:
        return b""
