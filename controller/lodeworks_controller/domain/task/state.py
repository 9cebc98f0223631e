"""The states of a task and who may follow whom."""

from enum import Enum

from lodeworks_controller.errors import ConflictError


class TaskState(Enum):
    """Where a task is in its life."""

    BLOCKED = "blocked"
    """Waits for its parents."""
    QUEUED = "queued"
    """Ready; waits for a worker."""
    LEASED = "leased"
    """Granted to a worker that has not reported it yet."""
    RUNNING = "running"
    SUSPECT = "suspect"
    """The worker is silent; its epoch stays valid and its GPUs stay held."""
    CANCELLING = "cancelling"
    """The worker was told to stop; logs and outputs are still taken."""
    FINISHING = "finishing"
    """The run is over; its outputs are being checked and made into objects."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow (a retry makes it QUEUED by a person's wish only)."""
        return self in FINAL

    @property
    def leased(self) -> bool:
        """Whether a worker holds a lease in this state."""
        return self in HELD


FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})
HELD = frozenset({TaskState.LEASED, TaskState.RUNNING, TaskState.SUSPECT, TaskState.CANCELLING})

_NEXT: dict[TaskState, frozenset[TaskState]] = {
    TaskState.BLOCKED: frozenset({TaskState.QUEUED, TaskState.FAILED, TaskState.CANCELLED}),
    # FINISHING without a run: the outputs of an equal task are taken.
    TaskState.QUEUED: frozenset({TaskState.LEASED, TaskState.FINISHING, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.LEASED: frozenset(
        {TaskState.RUNNING, TaskState.SUSPECT, TaskState.CANCELLING, TaskState.FINISHING, TaskState.QUEUED}
    ),
    TaskState.RUNNING: frozenset({TaskState.SUSPECT, TaskState.CANCELLING, TaskState.FINISHING, TaskState.QUEUED}),
    TaskState.SUSPECT: frozenset(
        {TaskState.RUNNING, TaskState.CANCELLING, TaskState.FINISHING, TaskState.QUEUED, TaskState.FAILED}
    ),
    TaskState.CANCELLING: frozenset({TaskState.FINISHING, TaskState.CANCELLED}),
    TaskState.FINISHING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.QUEUED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.QUEUED, TaskState.BLOCKED}),
    TaskState.CANCELLED: frozenset({TaskState.QUEUED, TaskState.BLOCKED}),
}


def check_move(task_id: str, before: TaskState, after: TaskState) -> None:
    """Refuses a move that the life of a task does not have."""
    if after not in _NEXT[before]:
        raise ConflictError(
            "TASK_STATE",
            f"task {task_id} is {before.value} and cannot become {after.value}",
            task_id=task_id,
            state=before.value,
        )


class FailureReason(Enum):
    """Why a task or an attempt failed; a closed list that programs may switch on."""

    USER = "user"
    """The executor ended with another code than 0."""
    OOM = "oom"
    IMAGE_PULL = "image_pull"
    TIMEOUT = "timeout"
    STALL = "stall"
    LOST = "lost"
    """The worker went silent for too long, or no longer has the run."""
    CANCELLED = "cancelled"
    BAD_INPUT = "bad_input"
    BAD_OUTPUT = "bad_output"
    NO_WORKER = "no_worker"
    DISK_FULL = "disk_full"
    WORKER = "worker"
    """The worker itself failed: staging, driver, upload."""
    DEPENDENCY = "dependency"
    """A task that this one waits for did not succeed."""
    GUARD = "guard"
    """A converted model lost more accuracy than allowed."""

    @property
    def infrastructure(self) -> bool:
        """Whether the platform is to blame and not the user's program or data."""
        return self in _INFRASTRUCTURE


_INFRASTRUCTURE = frozenset(
    {FailureReason.LOST, FailureReason.WORKER, FailureReason.DISK_FULL, FailureReason.IMAGE_PULL}
)
