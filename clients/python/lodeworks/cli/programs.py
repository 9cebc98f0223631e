"""Starts, finds and stops the other programs of Lodeworks; imports none of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks.errors import LodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EXTRAS = {"lode-controller": "controller", "lode-worker": "worker", "lode-device": "device"}
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Running:
    """A started program: its process id, and its start time in clock ticks, since ids are used again."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Says whether it still runs."""
        return _started(self.pid) == self.started


def find(name: str) -> str:
    """Returns the path of a program: beside this Python, or on PATH. Raises LodeError that says what to install."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise LodeError(
            f"{name} is not installed; `pip install 'lodeworks-platform[{_EXTRAS[name]}]'`", reason="PROGRAM_MISSING"
        )
    return path


def start(command: Sequence[str], *, log: Path) -> Running:
    """Starts a program in a session of its own, its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Running(process.pid, _started(process.pid))


def run(command: Sequence[str]) -> str:
    """Runs a program to its end and returns what it printed. Raises LodeError with its last words."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise LodeError(f"{Path(command[0]).name} failed: {said[-1]}", reason="PROGRAM_FAILED")
    return done.stdout


def stop(program: Running, *, grace_s: float = 10.0) -> None:
    """Asks a program to end, then ends it. One that is gone is no error."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if not program.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(program.pid, number)
        deadline = time.monotonic() + patience_s
        while program.alive and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def wait_for(condition: Callable[[], bool], program: Running, *, log: Path, what: str, timeout_s: float) -> None:
    """Waits until a condition holds. Raises LodeError with the last lines of the log when the program ends or hangs."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if not program.alive:
            raise LodeError(f"{what} ended at once: {last_line(log)} (its log: {log})", reason="PROGRAM_FAILED")
        if time.monotonic() > deadline:
            raise LodeError(f"{what} is not ready after {timeout_s:.0f} s; its log: {log}", reason="PROGRAM_FAILED")
        time.sleep(_POLL_S)


def last_line(log: Path) -> str:
    """Returns the last line of a log that is not empty."""
    try:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


def _started(pid: int) -> int:
    """Returns the start time of a process; -1 for one that is gone or a zombie."""
    # Our own children stay as zombies until they are waited for.
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] == "Z" else int(fields[19])
