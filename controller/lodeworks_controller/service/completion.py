"""What a worker hands over when a run is over."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from lodeworks_controller.domain.task.attempt import Outcome
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import FailureReason

FindMissing = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Returns which of the digests the store does not have."""

LogTail = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the last lines of a run's output, by task and lease epoch."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The outcome of one attempt; its outputs were uploaded before."""

    request_id: str
    task_id: str
    lease_epoch: int
    outcome: Outcome
    reason: FailureReason | None = None
    message: str = ""
    exit_code: int = 0
    signal: int = 0
    oom: bool = False
    outputs: tuple[Output, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    environment_digest: str = ""
    cpu_s: float = 0.0
