"""The other processes of a training: started by the first one, watched by it, ended with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from lodeworks_executor import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from lodeworks_executor import Task

    Work = Callable[["Task", int, int, Path], None]
    """What another process does: the run, which of how many processes it is, and where they meet."""

_NOTICED_WITHIN_S = 5.0
_ENDED_WITHIN_S = 20.0


class Crew:
    """Processes 1 to `count` - 1; this one is number 0.

    When one of them ends too early, what this process waits for never comes. The block then ends with an ExecutorError
    that says which one it was; where this process hangs in a call that nothing can end, the whole process does.
    """

    def __init__(self, task: Task, work: Work, *, count: int) -> None:
        self._task = task
        self._folder = tempfile.TemporaryDirectory(prefix="lodeworks-crew-")
        self.meeting = Path(self._folder.name) / "meeting"
        self._lost = ""
        self._noticed, self._closed = Event(), Event()
        context = multiprocessing.get_context("spawn")
        self._others: list[BaseProcess] = [
            context.Process(target=_work_along, args=(work, task, index, count, self.meeting), daemon=True)
            for index in range(1, count)
        ]

    def __enter__(self) -> Self:
        # All are on one machine: no need to be reached from outside, and a container without a network has no other.
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")
        for process in self._others:
            process.start()
        if self._others:
            Thread(target=self._watch, name="crew", daemon=True).start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # torch says "connection closed" a little before or after the process is seen to be gone.
        gone = isinstance(error, RuntimeError) and bool(self._others) and self._noticed.wait(_NOTICED_WITHIN_S)
        self._closed.set()
        for process in self._others:
            if error is None:
                process.join(_ENDED_WITHIN_S)
            process.kill()
        self._folder.cleanup()
        if gone:
            raise ExecutorError(self._lost) from error

    def _watch(self) -> None:
        running = dict(enumerate(self._others, start=2))
        while running:
            gone = wait([process.sentinel for process in running.values()])
            for number, process in list(running.items()):
                if process.sentinel not in gone:
                    continue
                running.pop(number).join()
                if process.exitcode and not self._closed.is_set():
                    self._tell_lost(f"process {number} of {len(self._others) + 1} {_end(process.exitcode)}")
                    return

    def _tell_lost(self, what: str) -> None:
        self._lost = f"{what}; the training cannot go on without it (the log above may say why)"
        self._noticed.set()
        if not self._closed.wait(_ENDED_WITHIN_S):
            print(f"error: {self._lost}", file=sys.stderr, flush=True)  # noqa: T201 - the log of a run
            self._task.fail(None, self._lost)
            for process in self._others:
                process.kill()
            os._exit(1)


def _end(exit_code: int) -> str:
    return f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"


def _work_along(work: Work, task: Task, index: int, count: int, meeting: Path) -> None:
    """Runs in another process: quiet, deaf to the platform's stop signal, gone when the first process is."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(target=_end_with_first, name="end-with-first", daemon=True).start()
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    work(task, index, count, meeting)


def _end_with_first() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
