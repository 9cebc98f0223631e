"""What the worker asks of its controller, without a word about how it travels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from lodeworks_worker.grant import Grant
from lodeworks_worker.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this machine."""

    uuid: str
    model: str = ""
    memory_bytes: int = 0
    used_bytes: int = 0
    """Of a fake one: what other programs are said to use."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What this machine is and what its worker can run; `missing` says why something expected is not there."""

    gpus: tuple[Gpu, ...] = ()
    cpus: float = 1.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    capabilities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    max_runs: int = 1


@dataclass(frozen=True, slots=True)
class Held:
    """A run that outlived the worker's previous process."""

    task_id: str
    lease_epoch: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Session:
    """What Register answers; times in seconds."""

    id: str
    epoch: int
    poll_wait_s: float = 20.0
    report_interval_s: float = 10.0
    lease_ttl_s: float = 45.0
    adopt: frozenset[str] = frozenset()
    kill: frozenset[str] = frozenset()


class DirectiveKind(Enum):
    """What the worker shall do at once."""

    CANCEL = "cancel"
    KILL = "kill"
    DRAIN = "drain"
    UNDRAIN = "undrain"


@dataclass(frozen=True, slots=True)
class Directive:
    """An order; `task_id` is empty when it is about the whole worker."""

    seq: int
    kind: DirectiveKind
    task_id: str = ""
    lease_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought."""

    grants: tuple[Grant, ...] = ()
    directives: tuple[Directive, ...] = ()
    agents_address: str = ""
    """Where controllers listen for agents now; empty = as before."""
    addresses: tuple[str, ...] = ()
    """Where they enrol and renew now; empty = as before."""


class RunState(Enum):
    """Where a leased run is, as the controller is told."""

    STAGING = "staging"
    RUNNING = "running"
    HARVESTING = "harvesting"


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What the worker says of one lease; progress 0 to 1, negative when unknown."""

    task_id: str
    lease_epoch: int
    state: RunState
    progress: float = -1.0
    message: str = ""


class Verdict(Enum):
    """What the controller thinks of a reported lease."""

    OK = "ok"
    LOST = "lost"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The verdict about one lease."""

    task_id: str
    lease_epoch: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Health:
    """How the machine is."""

    cpu_load: float = 0.0
    memory_used_bytes: int = 0
    disk_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one series; `measured_at` in seconds since the epoch."""

    step: int
    name: str
    value: float
    measured_at: float


@dataclass(frozen=True, slots=True)
class Scope:
    """A lease: its inputs may be read, its outputs written."""

    task_id: str
    lease_epoch: int


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine by its content, or a part of one that begins at a byte."""

    digest: str
    size_bytes: int
    path: Path
    start: int = 0


class ControlPlane(Protocol):
    """The calls of the worker protocol.

    All may raise UnreachableError (try again), SessionLostError, SupersededError, RemovedError, RefusedError, and
    those about a lease LeaseLostError.
    """

    async def register(self, *, boot_id: str, fingerprint: Fingerprint, held: Sequence[Held]) -> Session:
        """Opens a session and tells which runs are still here."""
        ...

    async def poll(
        self,
        session: str,
        *,
        max_leases: int,
        wait_s: float,
        have_directive_seq: int,
        free_gpus: Sequence[str],
        used_gpus: Sequence[str] = (),
    ) -> Polled:
        """Waits for grants and directives; the controller ends the call.

        `used_gpus` are those of the free ones whose memory other programs use.
        """
        ...

    async def report(
        self, session: str, *, seq: int, leases: Sequence[LeaseReport], health: Health
    ) -> Sequence[LeaseAnswer]:
        """Reports on the held leases and keeps them alive."""
        ...

    async def complete(self, session: str, outcome: Outcome) -> None:
        """Hands over an outcome; the same request id again is answered the same."""
        ...

    async def append_log(self, scope: Scope, *, stream: str, offset: int, data: bytes) -> int:
        """Appends to a log stream and returns its committed size, which may differ from offset + len(data)."""
        ...

    async def append_metrics(self, scope: Scope, *, offset: int, points: Sequence[MetricPoint]) -> int:
        """Appends points and returns how many of this run the controller has."""
        ...

    async def save_checkpoint(self, scope: Scope, *, digest: str, size_bytes: int) -> None:
        """Names the newest checkpoint of a run, sent before; the next attempt gets it."""
        ...


class BlobTransfer(Protocol):
    """Content between this machine and the controller. Raises as ControlPlane does, and BlobError."""

    async def fetch(self, scope: Scope, wanted: Mapping[str, int], *, folder: Path) -> None:
        """Brings blobs into a folder, each named by its digest and checked.

        `wanted` is digest → size in bytes, 0 where the size is not known beforehand.
        """
        ...

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        """Brings files to the controller; what it has is not sent."""
        ...
