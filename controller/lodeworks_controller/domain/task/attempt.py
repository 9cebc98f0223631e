"""An attempt: one lease of one task, and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from lodeworks_controller.domain.task.state import FailureReason


class Outcome(Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease of one task. The run's logs and outputs are kept by task and epoch."""

    task_id: str
    lease_epoch: int
    number: int
    """From 1."""
    worker_id: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    reason: FailureReason | None = None
    message: str = ""
    exit_code: int = 0
    signal: int = 0
    log_tail: tuple[str, ...] = ()
    cpu_s: float = 0.0
    environment_digest: str = ""
    request_id: str = ""
    """Of the Complete that ended it: the same again gets the same answer."""
    gpu_uuids: tuple[str, ...] = ()
    """The GPUs that it was given."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What lets the next attempt of a task go on where this one was: a packed folder in the blob store."""

    task_id: str
    lease_epoch: int
    """Of the attempt that wrote it."""
    digest: str
    size_bytes: int
    saved_at: datetime
