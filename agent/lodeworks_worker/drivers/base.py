"""The interface of a driver: what runs an executor, and finds its run again after a restart of the worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HANDLE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do here; a reason stands where it can do nothing."""

    name: str
    version: str = ""
    runs_images: bool = False
    runs_programs: bool = False
    limits_memory: bool = False
    read_only_in: bool = False
    gpus: bool = False
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """One run as a driver starts it.

    `folder` is the run's own, named by task and epoch; `folder/in` and `folder/out` are staged before `start`;
    everything else in it belongs to the driver. Exactly one of `image` and `command` is set.
    """

    task_id: str
    lease_epoch: int
    folder: Path
    image: str | None = None
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    shm_size_bytes: int = 0
    memory_bytes: int = 0
    cpus: float = 0.0
    network: str | None = None
    user: str = ""
    private_mounts: bool = False

    @property
    def name(self) -> str:
        """The name of the run: one container, one folder."""
        return run_name(self.task_id, self.lease_epoch)

    @property
    def in_dir(self) -> Path:
        """What the executor reads."""
        return self.folder / "in"

    @property
    def out_dir(self) -> Path:
        """What the executor writes."""
        return self.folder / "out"


def run_name(task_id: str, lease_epoch: int) -> str:
    """Names a run by task and epoch, so that a second start meets the first."""
    return f"{task_id}-{lease_epoch}"


@dataclass(frozen=True, slots=True)
class RunHandle:
    """Enough to find a run again after the worker restarts."""

    version: int
    driver: str
    task_id: str
    lease_epoch: int
    driver_state: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended: an exit code, or the signal that ended it, and whether memory ran out.

    `cpu_s` is the processor time of the executor and its children, 0 where the driver does not know it.
    """

    code: int | None
    signal: int | None = None
    oom: bool = False
    cpu_s: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether the executor said that it succeeded."""
        return self.code == 0 and self.signal is None


@dataclass(frozen=True, slots=True)
class LogPart:
    """Bytes of a run's output and the driver's offset behind them."""

    data: bytes
    next_offset: int


class Driver(Protocol):
    """Runs executors."""

    async def capabilities(self) -> Capabilities:
        """Says what this driver can do here; asked once at start."""
        ...

    async def start(self, launch: Launch) -> RunHandle:
        """Starts a run. The same (task, epoch) twice returns the same run, even when it has ended.

        Raises:
            LaunchError: the run cannot start; nothing of it is left.
        """
        ...

    async def recover(self, handle: RunHandle) -> None:
        """Takes up a run started before this process, or raises RunLostError."""
        ...

    async def wait(self, handle: RunHandle) -> Exit:
        """Returns how the run ended, or raises RunLostError. May be asked again."""
        ...

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Returns the run's output from a driver's offset, at most about 1 MiB; empty when there is no more yet.

        The same offset gives the same bytes again. Offset 0 is the beginning; others come from an earlier part.
        """
        ...

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Asks the run to end, ends it after the grace, and returns when it is over. A gone run is not an error."""
        ...

    async def remove(self, handle: RunHandle) -> None:
        """Ends the run at once if it lives, and forgets it; its folder stays. A gone run is not an error."""
        ...

    async def found(self) -> Sequence[RunHandle]:
        """Lists the runs that the driver knows here, whoever started them: strays have no entry in the journal."""
        ...
