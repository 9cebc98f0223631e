"""Follows a task to its end: progress with rate and ETA, metrics as they come, Ctrl-C detaches."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lodeworks.blocking.task import Task, TaskEvent
    from lodeworks.cli.session import Session

T = TypeVar("T")

DETACH = click.option("--detach", is_flag=True, help="Print the task's id and return at once.")


def follow(session: Session, task: Task[T], *, detach: bool) -> T | None:
    """Waits for a task with a progress bar and returns its result; None when detached.

    Raises:
        TaskFailedError: It ended without its product.
    """
    if detach and task.id:
        click.echo(task.id)
        return None
    if not task.over:
        try:
            _watch(session, task)
        except KeyboardInterrupt:
            detached(session, task)
            return None
    return task.result()


def detached(session: Session, task: Task[Any]) -> None:
    """Says that a task that was followed goes on alone."""
    session.output.hint(f"\ndetached; the task goes on: `lode task watch {task.id}`")


def _watch(session: Session, task: Task[Any]) -> None:
    quiet = session.output.quiet or not sys.stderr.isatty()
    line = ProgressLine(task.data.title if task.data else "")
    for event in task.watch(logs=False):
        if not quiet:
            line.show(event)
    if not quiet:
        line.end()


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
        filled = int(share * 24)
        left = f" ETA {_clock(elapsed_s / share - elapsed_s)}" if 0.02 < share < 1 else ""  # noqa: PLR2004
        chosen = [name for name in ("train/loss", "val/mAP50") if name in self._latest]
        metrics = "".join(f"  {name.rpartition('/')[2]} {self._latest[name]:.3f}" for name in chosen)
        text = (
            f"{self._title}  [{'█' * filled}{'·' * (24 - filled)}] {share:4.0%} "
            f"{_clock(elapsed_s)}{left}{metrics}  {task.message}"
        )
        width = shutil.get_terminal_size().columns
        click.echo("\r\x1b[2K" + text[: width - 1], nl=False, err=True)

    def end(self) -> None:
        """Leaves the line for good."""
        click.echo("", err=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


@contextmanager
def uploading(session: Session, path: Path) -> Iterator[Callable[[int], None] | None]:
    """Yields a callback that shows how many bytes of a file are up."""
    if session.output.quiet or not sys.stderr.isatty() or not path.is_file():
        yield None
        return
    with click.progressbar(length=path.stat().st_size, label=f"upload {path.name}", file=sys.stderr) as bar:
        sent = [0]

        def show(total: int) -> None:
            bar.update(total - sent[0])
            sent[0] = total

        yield show
