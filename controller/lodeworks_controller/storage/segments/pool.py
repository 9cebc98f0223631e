"""Processes of our own for heavy work on segments: spawned, bounded in memory, replaced when one dies.

Start the pool before grpc is imported. The processes import nothing of ours beyond this folder and the domain, and load
DuckDB with their first job.
"""

import asyncio
import importlib
import logging
import multiprocessing
import os
import resource
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from threading import Thread
from typing import Any, Generic, TypeVar

from lodeworks_controller.errors import ExhaustedError, UnavailableError

Job = TypeVar("Job")
Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)
_JOBS_PER_PROCESS = 500


@dataclass(frozen=True, slots=True)
class Work(Generic[Job, Answer]):
    """A function of one argument by name, so that only the process that runs it loads its module."""

    module: str
    function: str


def _run(module: str, function: str, job: Any) -> Any:
    return getattr(importlib.import_module(module), function)(job)


def _begin(memory_bytes: int) -> None:
    """Prepares a process: a limit of its own, no interest in the terminal's Ctrl-C, and an end with the controller."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone: a killed one cannot say so, and jobs would never come."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """Does nothing; asked once so that a process is there before the first job."""


class Pool:
    """Runs functions with one argument in other processes.

    Args:
        processes: How many at once.
        memory_bytes: How much memory each may have; beyond, its job fails and the process stays or is replaced.
        idle_s: After so long without a job the processes end and give their memory back; the next job starts one.
    """

    def __init__(self, *, processes: int = 2, memory_bytes: int = 2 * 1024**3, idle_s: float = 300.0) -> None:
        self._processes = processes
        self._memory_bytes = memory_bytes
        self._idle_s = idle_s
        self._busy = 0
        self._rest: asyncio.TimerHandle | None = None
        self._executor: ProcessPoolExecutor | None = None

    def start(self) -> "Pool":
        """Starts the first process and returns once it answers."""
        self._executor = self._make()
        self._executor.submit(_nothing).result()
        return self

    def close(self) -> None:
        """Ends the processes; jobs that wait are dropped."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    async def run(self, work: Work[Job, Answer], job: Job) -> Answer:
        """Returns what the work's function answers to the job.

        Raises:
            ExhaustedError: It wanted more memory than it may have.
            UnavailableError: The process died; the caller may repeat.
        """
        executor = self._executor
        if executor is None:
            raise UnavailableError("POOL_CLOSED", "the controller is stopping; repeat in a moment")
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._busy += 1
        try:
            submitted: Future[Answer] = executor.submit(_run, work.module, work.function, job)
            return await asyncio.wrap_future(submitted)
        except BrokenProcessPool as error:
            self._replace(executor)
            message = "a process for heavy work died, perhaps for want of memory; repeat"
            raise UnavailableError("POOL_PROCESS_DIED", message) from error
        except MemoryError as error:
            raise _too_big() from error
        except Exception as error:
            # DuckDB's own class is not imported here: this module loads before anything heavy.
            if type(error).__name__ == "OutOfMemoryException":
                raise _too_big() from error
            raise
        finally:
            self._busy -= 1
            if not self._busy:
                self._rest = asyncio.get_running_loop().call_later(self._idle_s, self._let_go)

    def _let_go(self) -> None:
        self._rest = None
        if self._executor is not None and not self._busy:
            idle, self._executor = self._executor, self._make()
            idle.shutdown(wait=False)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self._processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._memory_bytes,),
            max_tasks_per_child=_JOBS_PER_PROCESS,
        )

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._executor is broken:
            _LOG.warning("a process of the pool died; starting another")
            broken.shutdown(wait=False)
            self._executor = self._make()


def _too_big() -> ExhaustedError:
    return ExhaustedError(
        "MEMORY_LIMIT", "this needs more memory than the controller gives to one job; raise the limit"
    )
