"""Lines on a terminal that say how far something is, how fast it goes and how long it will take."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks.blocking.task import TaskEvent

_BAR, _LEAST_BAR = 24, 4
_LEAST_SHARE = 0.02
_DRAWN_EVERY_S = 0.2
_MB = 1_000_000


class ProgressLine:
    """One line on stderr that says how far a task is.

    Args:
        title: What the task is.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._started_s = time.monotonic()
        self._latest: dict[str, float] = {}

    def show(self, event: TaskEvent) -> None:
        """Draws the line anew."""
        task = event.task
        self._latest.update({point.name: point.value for point in event.metrics})
        elapsed_s = time.monotonic() - self._started_s
        share = max(0.0, task.progress)
        left = f" ETA {clock(elapsed_s / share - elapsed_s)}" if _LEAST_SHARE < share < 1 else ""
        chosen = [name for name in ("train/loss", "val/mAP50") if name in self._latest]
        metrics = "".join(f"  {name.rpartition('/')[2]} {self._latest[name]:.3f}" for name in chosen)
        draw(drawn(self._title, share, f"{clock(elapsed_s)}{left}{metrics}  {task.message}", width=columns()))

    def end(self) -> None:
        """Leaves the line for good."""
        click.echo("", err=True)


class UploadLine:
    """One line on stderr that says how many bytes are up.

    Args:
        name: What is sent.
        size_bytes: Of all of it.
        timer: Counts seconds.
    """

    def __init__(self, name: str, *, size_bytes: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._size_bytes = size_bytes
        self._timer = timer
        self._started_s = timer()
        self._drawn_s = float("-inf")

    def show(self, sent_bytes: int) -> None:
        """Draws the line anew, a few times a second."""
        if sent_bytes < self._size_bytes and self._timer() - self._drawn_s < _DRAWN_EVERY_S:
            return
        self._drawn_s = self._timer()
        draw(self.line(sent_bytes, width=columns()))

    def line(self, sent_bytes: int, *, width: int) -> str:
        """Returns the line for a terminal of that many columns."""
        rate = sent_bytes / max(self._timer() - self._started_s, 1e-3)
        share = min(1.0, sent_bytes / max(1, self._size_bytes))
        left_s = max(0, self._size_bytes - sent_bytes) / rate if rate else 0.0
        told = f"{sent_bytes / _MB:,.1f} of {self._size_bytes / _MB:,.1f} MB, {rate / _MB:,.1f} MB/s"
        return drawn(f"upload {self._name}", share, f"{told}, {clock(left_s)} left", width=width)

    def end(self) -> None:
        """Leaves the line for good."""
        click.echo("", err=True)


def drawn(title: str, share: float, told: str, *, width: int) -> str:
    """Returns a line of at most `width` columns; where room is short the bar goes before the words do."""
    percent = f"{share:4.0%}"
    room = width - 1 - len(f"{title}  [] {percent} {told}")
    bar = min(_BAR, room)
    if bar < _LEAST_BAR:
        return f"{title} {percent} {told}"[: width - 1]
    filled = int(share * bar)
    return f"{title}  [{'█' * filled}{'·' * (bar - filled)}] {percent} {told}"


def draw(text: str) -> None:
    """Replaces the line on which the cursor stands."""
    click.echo("\r\x1b[2K" + text, nl=False, err=True)


def columns() -> int:
    """Returns how wide the terminal is on which the lines appear."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


def clock(seconds: float) -> str:
    """Returns a time as minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"
