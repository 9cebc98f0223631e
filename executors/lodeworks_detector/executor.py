"""Which operation a run asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_executor import ErrorCode, ExecutorError

if TYPE_CHECKING:
    from lodeworks_executor import Task


def execute(task: Task) -> None:
    """Trains, or mines and infers, as the environment of the run says."""
    if task.run_training:
        # Imported here: torch takes seconds, and a wrong setting of another operation need not wait for it.
        from lodeworks_detector.program import train  # noqa: PLC0415

        train(task)
    elif task.run_mining or task.run_infer:
        from lodeworks_detector.prediction import predict  # noqa: PLC0415

        predict(task)
    else:
        raise ExecutorError("env.yaml asks for no operation", code=ErrorCode.CONFIG)
