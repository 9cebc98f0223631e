"""Processes that outlive who started them, found again by pid, start time and boot."""

import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from lodeworks_device.files import read_json, write_json

_START_TIME_FIELD = 19  # of /proc/<pid>/stat, counted behind the name
_RSS_FIELD = 21


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process: a pid alone would be somebody else's one day."""

    pid: int
    start_time: int
    boot_id: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        fields = _stat(self.pid)
        return (
            bool(fields)
            and fields[0] not in {"Z", "X"}
            and int(fields[_START_TIME_FIELD]) == self.start_time
            and self.boot_id == boot_id()
        )

    @property
    def memory_bytes(self) -> int:
        """What it holds in memory; 0 when it is gone."""
        fields = _stat(self.pid)
        return int(fields[_RSS_FIELD]) * os.sysconf("SC_PAGE_SIZE") if fields else 0

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal to this very process; says whether it was there."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end; says whether it came. Blocks."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)


def own_record() -> ProcessRecord:
    """Describes this process."""
    return record_of(os.getpid())


def record_of(pid: int) -> ProcessRecord:
    """Describes a process that runs."""
    fields = _stat(pid)
    return ProcessRecord(pid, int(fields[_START_TIME_FIELD]) if fields else 0, boot_id())


def write_record(path: Path, record: ProcessRecord) -> None:
    """Writes a record by rename."""
    write_json(path, asdict(record))


def read_record(path: Path) -> ProcessRecord | None:
    """Reads a record, None where there is none."""
    told = read_json(path)
    try:
        return ProcessRecord(int(told["pid"]), int(told["start_time"]), str(told["boot_id"])) if told else None
    except (KeyError, TypeError, ValueError):
        return None


def boot_id() -> str:
    """Identifies this run of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
