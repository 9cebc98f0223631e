"""How a run ended and what it left: the worker's last word about it."""

from dataclasses import dataclass
from enum import Enum


class OutcomeState(Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureReason(Enum):
    """Why an attempt failed. Closed: a new reason is a new version of the protocol."""

    USER = "user"
    OOM = "oom"
    IMAGE_PULL = "image_pull"
    TIMEOUT = "timeout"
    STALL = "stall"
    LOST = "lost"
    CANCELLED = "cancelled"
    BAD_INPUT = "bad_input"
    BAD_OUTPUT = "bad_output"
    NO_WORKER = "no_worker"
    DISK_FULL = "disk_full"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Output:
    """One file that the run left, by role and content."""

    role: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an attempt's end means."""

    state: OutcomeState
    failure: FailureReason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Complete tells the controller; journaled before it is sent, so that it is told once.

    Times are seconds since the epoch; 0 = never.
    """

    request_id: str
    task_id: str
    lease_epoch: int
    judgement: Judgement
    exit_code: int = 0
    signal: int = 0
    oom: bool = False
    outputs: tuple[Output, ...] = ()
    out_log_bytes: int = 0
    worker_log_bytes: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    environment_digest: str = ""
    cpu_s: float = 0.0
