"""`lode task`: what is running and what it says."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from lodeworks.api.task.v1.task_pb2 import TASK_STATE_SUCCEEDED
from lodeworks.cli.following import detached, follow
from lodeworks.cli.session import NAMES, Noun, flat
from lodeworks.cli.task_view import print_task
from lodeworks.cli.watching import Watch

if TYPE_CHECKING:
    from lodeworks.api.task.v1.task_pb2 import Task
    from lodeworks.blocking.task import Task as AnyTask
    from lodeworks.cli.session import Session


@click.group("task", cls=Noun)
def task_command() -> None:
    """What is running and what it says."""


@task_command.command("ls", example="lode task ls --state running,queued")
@click.option("--state", "states", type=NAMES, multiple=True, help="Only these states.")
@click.option("--kind", "kinds", type=NAMES, multiple=True, help="Only these kinds.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.pass_obj
def ls(session: Session, states: tuple[tuple[str, ...], ...], kinds: tuple[tuple[str, ...], ...], limit: int) -> None:
    """List tasks, newest first."""
    from itertools import islice

    columns: dict[str, Any] = {
        "task": "id",
        "kind": "kind",
        "what": "title",
        "state": "state",
        "priority": lambda data: (data["options"] or {}).get("priority"),
        "done": lambda data: f"{max(0.0, data['progress']):.0%}",
        "worker": "worker_name",
        "made": "create_time",
    }
    found = session.project.tasks.list(states=flat(states), kinds=flat(kinds))
    session.output.many(islice(found, limit), columns=columns)


@task_command.command("show", example="lode task show ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def show(session: Session, task_id: str) -> None:
    """Show one task: where it is, why it failed, and what to do."""
    print_task(session, _data(session.client.tasks.get(task_id)), attempts=True)


@task_command.command("watch", example="lode task watch ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def watch(session: Session, task_id: str) -> None:
    """Follow progress, time left and metrics to the end; exits with 1 unless it succeeded."""
    task = session.client.tasks.get(task_id)
    if not task.over:
        view = Watch(now_s=time.time, live=sys.stderr.isatty() and not session.output.quiet)
        try:
            for event in task.watch(logs=False):
                if not session.output.quiet:
                    view.show(event)
        except KeyboardInterrupt:
            detached(session, task)
            return
        click.echo("", err=True)
    task.refresh()
    print_task(session, _data(task), attempts=True)
    if _data(task).state != TASK_STATE_SUCCEEDED:
        sys.exit(1)


@task_command.command("logs", example="lode task logs ID -f")
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the task has ended.")
@click.option("--attempt", type=click.IntRange(min=0), default=0, help="Which attempt; default: the newest.")
@click.option("--worker", is_flag=True, help="The worker's own lines instead of the executor's.")
@click.pass_obj
def logs(session: Session, task_id: str, following: bool, attempt: int, worker: bool) -> None:
    """Print the log of a task."""
    task = session.client.tasks.get(task_id)
    out = sys.stdout.buffer
    if following and not worker:
        try:
            for event in task.watch():
                out.write(event.log)
                out.flush()
        except KeyboardInterrupt:
            detached(session, task)
        return
    for part in task.log(attempt=attempt, stream="worker" if worker else "out"):
        out.write(part)
    out.flush()


@task_command.command("wait", example="lode task wait ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def wait(session: Session, task_id: str) -> None:
    """Wait until a task has ended; exits with 1 unless it succeeded."""
    task = session.client.tasks.get(task_id)
    result = follow(session, task, detach=False)
    if result is not None:
        session.output.one(result)


@task_command.command("cancel", example="lode task cancel ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def cancel(session: Session, task_id: str) -> None:
    """Ask a task to end; what it has made so far is kept where its kind allows."""
    print_task(session, _data(session.client.tasks.get(task_id).cancel()))


@task_command.command("retry", example="lode task retry ID")
@click.argument("task_id", metavar="ID")
@click.option("--fresh", is_flag=True, help="From the beginning, also where there is a checkpoint.")
@click.pass_obj
def retry(session: Session, task_id: str, fresh: bool) -> None:
    """Queue a failed or cancelled task again; it goes on from its checkpoint."""
    print_task(session, _data(session.client.tasks.get(task_id).retry(fresh=fresh)))
    session.output.hint(f"next: lode task watch {task_id}")


@task_command.command("set", example="lode task set ID --priority 10")
@click.argument("task_id", metavar="ID")
@click.option("--priority", type=int, required=True, metavar="N", help="-100 to 100; larger goes first.")
@click.pass_obj
def set_(session: Session, task_id: str, priority: int) -> None:
    """Change a task that waits."""
    print_task(session, _data(session.client.tasks.get(task_id).set(priority=priority)))


def _data(task: AnyTask[Any]) -> Task:
    assert task.data is not None
    return task.data
