"""`lode task`: what is running and what it says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.following import detached, follow
from lodeworks.cli.output import plain
from lodeworks.cli.session import NAMES, Noun, flat

if TYPE_CHECKING:
    from lodeworks.api.task.v1.task_pb2 import Task
    from lodeworks.cli.session import Session


@click.group("task", cls=Noun)
def task_command() -> None:
    """What is running and what it says."""


def _print(session: Session, task: Task) -> None:
    data = plain(task)
    rows = [
        ("task", data["id"]),
        ("what", data["title"]),
        ("state", data["state"]),
        ("progress", f"{max(0.0, data['progress']):.0%} {data['message']}"),
        ("reason", data["reason"] if data["reason"] != "unspecified" else ""),
        ("error", data["error"]),
        ("exit code", f"{data['exit_code']}, signal {data['signal']}" if data["state"] == "failed" else ""),
        ("worker", data["worker_name"]),
        ("attempt", data["attempt"]),
        ("result", (data["result"] or {}).get("name") or (data["result"] or {}).get("id")),
        ("started", data["start_time"]),
        ("ended", data["end_time"]),
    ]
    session.output.one(task, rows=[(key, value) for key, value in rows if value not in ("", None)])
    if session.output.style == "table":
        for line in data["log_tail"]:
            click.echo(f"  | {line}")


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
    """Show one task: where it is, and why it failed."""
    task = session.client.tasks.get(task_id).data
    assert task is not None
    _print(session, task)


@task_command.command("watch", example="lode task watch ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def watch(session: Session, task_id: str) -> None:
    """Follow progress and metrics to the end."""
    task = session.client.tasks.get(task_id)
    follow(session, task, detach=False)
    assert task.data is not None
    _print(session, task.data)


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
    task = session.client.tasks.get(task_id).cancel().data
    assert task is not None
    _print(session, task)


@task_command.command("retry", example="lode task retry ID")
@click.argument("task_id", metavar="ID")
@click.pass_obj
def retry(session: Session, task_id: str) -> None:
    """Queue a failed or cancelled task again."""
    task = session.client.tasks.get(task_id).retry().data
    assert task is not None
    _print(session, task)
