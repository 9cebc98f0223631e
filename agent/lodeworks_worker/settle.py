"""Decides what the end of a run means."""

from pathlib import Path

from lodeworks_formats.ymir_results import EXECUTOR_CODES

from lodeworks_worker.drivers.base import Exit
from lodeworks_worker.harvest.harvest import complaint
from lodeworks_worker.harvest.plain_file import open_plain
from lodeworks_worker.log_pump import LOG_FILE
from lodeworks_worker.outcome import FailureReason, Judgement, OutcomeState

_REASONS = {
    "CONFIG": FailureReason.BAD_INPUT,
    "DATASET": FailureReason.BAD_INPUT,
    "PICTURE_FORMAT": FailureReason.BAD_INPUT,
    "MODEL": FailureReason.BAD_INPUT,
    "OBJECT_TYPE": FailureReason.BAD_INPUT,
    "CUDA_MISMATCH": FailureReason.WORKER,
    "NO_GPU": FailureReason.WORKER,
    "OUT_OF_MEMORY": FailureReason.OOM,
    "NOT_A_NUMBER": FailureReason.USER,
    "NETWORK": FailureReason.WORKER,
}
_LAST_LINES = 5
_TAIL_BYTES = 4096


def judge(
    ended: Exit | None,
    *,
    ending: FailureReason | None,
    ending_message: str,
    folder: Path,
    pulls: bool = False,
    gpus: int = 0,
) -> Judgement:
    """Returns what a run's end means: who ordered it first, then memory, then the exit and what the executor told.

    `pulls` says that the run fetches an image: what fails on the network there is the fetching. `gpus` is how many GPUs
    it was given: who misses one and was given none was asked for wrongly.
    """
    if ending is FailureReason.CANCELLED:
        return Judgement(OutcomeState.CANCELLED, ending, ending_message)
    if ending is not None:
        return Judgement(OutcomeState.FAILED, ending, ending_message)
    if ended is None:
        lost = "the run vanished without an exit; the machine may have restarted"
        return Judgement(OutcomeState.FAILED, FailureReason.LOST, lost)
    if ended.oom:
        message = "memory ran out; use smaller pictures or batches, or a worker with more memory"
        return Judgement(OutcomeState.FAILED, FailureReason.OOM, message)
    if ended.succeeded:
        return Judgement(OutcomeState.SUCCEEDED)
    told = complaint(folder)
    name = None if told is None or told.code is None else EXECUTOR_CODES.get(told.code)
    reason = FailureReason.USER if name is None else _REASONS[name]
    if pulls and name == "NETWORK":
        reason = FailureReason.IMAGE_PULL
    without_gpu = name == "NO_GPU" and not gpus
    if without_gpu:
        reason = FailureReason.BAD_INPUT
    how = f"the executor was ended by signal {ended.signal}" if ended.signal else f"exit code {ended.code}"
    if told is not None and told.message:
        how = f"{told.message} ({how}{'' if name is None else f', code {told.code} {name}'})"
    else:
        tail = last_lines(folder)
        how = f"{how}; it said last: {' | '.join(tail)}" if tail else f"{how} and no output"
    return Judgement(OutcomeState.FAILED, reason, f"{how}; ask for a GPU with --gpus 1" if without_gpu else how)


def last_lines(folder: Path) -> list[str]:
    """Returns the last lines of the executor's output."""
    try:
        with open_plain(folder / "out", LOG_FILE) as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
