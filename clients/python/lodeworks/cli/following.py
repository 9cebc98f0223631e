"""Follows a task to its end: progress with rate and ETA, metrics as they come, Ctrl-C detaches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lodeworks.cli.progress import ProgressLine, UploadLine
from lodeworks.folder import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lodeworks.blocking.task import Task
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


@contextmanager
def uploading(session: Session, path: Path) -> Iterator[Callable[[int], None] | None]:
    """Yields a callback that shows how many bytes of a file or folder are up, how fast that goes and how long yet."""
    if session.output.quiet or not sys.stderr.isatty() or not path.exists():
        yield None
        return
    size_bytes = size_of(path)
    line: UploadLine | None = None

    def show(sent_bytes: int) -> None:
        nonlocal line
        if line is None:  # what comes before, hashing and packing, is not the pace of the upload
            line = UploadLine(path.name, size_bytes=size_bytes)
        line.show(sent_bytes)

    try:
        yield show
    finally:
        if line is not None:
            line.end()
