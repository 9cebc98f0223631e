"""What a person can do about a task that failed or waits: one sentence for each reason."""

from collections.abc import Mapping
from typing import Final

from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Task

_SIGKILL: Final = 9
_TO_DO: Final[Mapping[FailureReason, str]] = {
    FailureReason.USER: "read its last lines and `lode task logs {id}`, mend the settings or the executor, then "
    "`lode task retry {id}`",
    FailureReason.OOM: "make it smaller (pictures with --longest-side, the executor's batch size with --set) or choose "
    "a worker with more memory by --label, and start it again",
    FailureReason.IMAGE_PULL: "check the image's name and the worker's access to its registry with `lode executor "
    "check`, then `lode task retry {id}`",
    FailureReason.TIMEOUT: "start it again with a longer --timeout or --start-timeout; a training goes on from its "
    "checkpoint with `lode task retry {id}`",
    FailureReason.STALL: "see in `lode task logs {id}` where it stood still; start it again, with a longer "
    "--stall-timeout if it only is slow",
    FailureReason.LOST: "look at the worker ({worker}): `lode worker show {worker}`; then `lode task retry {id}`, it "
    "goes on from its checkpoint where there is one",
    FailureReason.CANCELLED: "`lode task retry {id}` starts it again, from its checkpoint where there is one",
    FailureReason.BAD_INPUT: "mend what the message names and start it again; the same inputs would fail again",
    FailureReason.BAD_OUTPUT: "mend the executor: the message names the file and the line that cannot be read",
    FailureReason.NO_WORKER: "add a worker that offers what it needs, or ask for less: `lode worker ls` shows what "
    "there is",
    FailureReason.DISK_FULL: "make room on the worker ({worker}), then `lode task retry {id}`",
    FailureReason.WORKER: "see `lode task logs {id} --worker` and, on the worker ({worker}), `lode-worker "
    "doctor`; then `lode task retry {id}`",
    FailureReason.DEPENDENCY: "retry the task that failed before it, then this one",
    FailureReason.GUARD: "publish without the precision that lost too much, calibrate on more pictures, or allow more "
    "with --max-drop",
}


def next_step(task: Task, *, worker_name: str = "") -> str:
    """Returns what to do next, for people; empty where there is nothing to do."""
    failure = task.failure
    if task.state is TaskState.SUSPECT:
        return (
            f"wait, or look at worker {worker_name}: it is silent; after {task.lost_after_s:.0f} s the task goes on "
            "elsewhere"
        )
    if failure is None or not task.state.final or task.state is TaskState.SUCCEEDED:
        return ""
    if failure.reason is FailureReason.USER and failure.signal == _SIGKILL:
        told = _TO_DO[FailureReason.OOM]
        return f"it was killed from outside, most often for memory: {told}".format(id=task.id, worker=worker_name)
    return _TO_DO[failure.reason].format(id=task.id, worker=worker_name or "its worker")
