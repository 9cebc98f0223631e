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
    LAUNCH = "launch"
    TIMEOUT = "timeout"
    STALL = "stall"
    LOST = "lost"
    CANCELLED = "cancelled"
    BAD_INPUT = "bad_input"
    BAD_OUTPUT = "bad_output"
    BAD_SETTING = "bad_setting"
    NO_GPU = "no_gpu"
    DIVERGED = "diverged"
    NETWORK = "network"
    NO_SPACE = "no_space"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Output:
    """One file that the run left, by role and content."""

    role: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Complete tells the controller; stored before it is sent, so that it is told once."""

    request_id: str
    task_id: str
    lease_epoch: int
    state: OutcomeState
    failure: FailureReason | None = None
    message: str = ""
    file: str = ""
    line: int = 0
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    outputs: tuple[Output, ...] = ()
    log_size_bytes: int = 0
    last_lines: tuple[str, ...] = ()
