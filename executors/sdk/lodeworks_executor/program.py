"""The frame of an executor program: exit codes, error codes and the stop signal."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lodeworks_executor.environment import env_file_path, read_environment
from lodeworks_executor.errors import ErrorCode, ExecutorError, StopRequestedError
from lodeworks_executor.monitor import Monitor
from lodeworks_executor.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_STOPPED = 143


def run_program(program: Callable[[Task], None], *, env_file: Path | None = None) -> int:
    """Runs an executor and returns its exit code: 0 done, 1 failed, 143 stopped by SIGTERM.

    An ExecutorError becomes the code and message of the monitor file; any other exception is printed with its
    traceback as well. SIGTERM raises StopRequestedError in the program. Progress is told before and after the program.
    """
    try:
        task = Task.load(env_file)
    except ExecutorError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)  # noqa: T201 - the log of a run
        _tell(error, env_file)
        return EXIT_FAILED
    try:
        with stop_signal_raises():
            task.progress(0.0)
            program(task)
            task.finish()
    except StopRequestedError:
        print("stopped by the platform", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_STOPPED
    except ExecutorError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)  # noqa: T201
        task.fail(error.code, error.message)
        return EXIT_FAILED
    except MemoryError as error:
        traceback.print_exc()
        task.fail(ErrorCode.OUT_OF_MEMORY, str(error) or "out of memory")
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last resort of a program: tell it, then end
        traceback.print_exc()
        task.fail(None, f"{type(error).__name__}: {error}")
        return EXIT_FAILED
    return EXIT_DONE


def _tell(error: ExecutorError, env_file: Path | None) -> None:
    """Leaves the code in the monitor file where env.yaml says where that is, though the settings cannot be read."""
    with suppress(ExecutorError, OSError):
        environment = read_environment(env_file or env_file_path())
        monitor = Monitor(environment.outputs.monitor, task_id=environment.task_id, clock=time.time)
        monitor.fail(error.code, error.message)


@contextmanager
def stop_signal_raises() -> Iterator[None]:
    """Turns SIGTERM into StopRequestedError within the block."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Once only: what runs on the way out must not be broken off by a second signal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise StopRequestedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
