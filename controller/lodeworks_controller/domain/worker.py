"""Workers: what they offer, and their sessions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a worker, and the task that holds it."""

    uuid: str
    model: str = ""
    memory_bytes: int = 0
    task_id: str = ""
    """Empty when free."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a worker is and can do."""

    cpus: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    names: frozenset[str] = frozenset()
    """What a task may require: ``driver:docker``, ``builtin:infer``, ``executor:detector`` …."""
    labels: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why something one would expect is not there, by capability name."""
    max_runs: int = 1


class WorkerState(Enum):
    """Where a worker is in its life."""

    PENDING = "pending"
    """Announced, not enrolled yet."""
    ONLINE = "online"
    OFFLINE = "offline"
    """Silent for longer than a lease."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as the controller knows it."""

    id: str
    name: str
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    """As its administrator gave them."""
    enrolled: bool = False
    draining: bool = False
    version: str = ""
    hostname: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    session: str = ""
    session_epoch: int = 0
    boot_id: str = ""
    last_seen_at: datetime | None = None

    def state(self, *, at: datetime, silent_after_s: float) -> WorkerState:
        """Returns where the worker is, by when it last spoke."""
        if self.last_seen_at is None:
            return WorkerState.OFFLINE if self.enrolled else WorkerState.PENDING
        silent = at - self.last_seen_at > timedelta(seconds=silent_after_s)
        return WorkerState.OFFLINE if silent else WorkerState.ONLINE


class DirectiveKind(Enum):
    """What a worker shall do at once."""

    CANCEL = "cancel"
    KILL = "kill"
    DRAIN = "drain"
    UNDRAIN = "undrain"


@dataclass(frozen=True, slots=True)
class Directive:
    """An order to a worker; its seq rises by one within a session."""

    seq: int
    kind: DirectiveKind
    task_id: str = ""
    lease_epoch: int = 0
