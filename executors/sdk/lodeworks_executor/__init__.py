"""The typed /in and /out of an executor: `task = Task.load()`."""

from lodeworks_executor.errors import (
    BadDatasetError,
    BadModelError,
    BadSettingError,
    ErrorCode,
    ExecutorError,
    StopRequestedError,
)
from lodeworks_executor.program import run_program
from lodeworks_executor.samples import Sample
from lodeworks_executor.settings import Settings
from lodeworks_executor.task import Task

__all__ = [
    "BadDatasetError",
    "BadModelError",
    "BadSettingError",
    "ErrorCode",
    "ExecutorError",
    "Sample",
    "Settings",
    "StopRequestedError",
    "Task",
    "run_program",
]
