"""`lode worker`: machines that run tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.session import Noun, pairs

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("worker", cls=Noun)
def worker_command() -> None:
    """Machines that run tasks."""


@worker_command.command("add", example="lode worker add rack-2 --label site=lab")
@click.argument("name")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Labels for placement.")
@click.pass_obj
def add(session: Session, name: str, labels: tuple[str, ...]) -> None:
    """Announce a worker; prints the line to type on it."""
    made = session.client.workers.add(name, labels=pairs(labels, option="--label"))
    server = session.client.profile.server
    line = f"lode-worker enroll {server} --ca {made.ca_fingerprint} --token {made.token}"
    if session.output.style != "table":
        session.output.document({"worker": made.worker.name, "token": made.token, "line": line})
        return
    session.output.hint("type this on the worker, then `lode-worker run`:")
    click.echo(line)


@worker_command.command("ls", example="lode worker ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the workers."""
    columns: dict[str, Any] = {
        "worker": "name",
        "state": "state",
        "draining": "draining",
        "cpus": "cpus",
        "gpus": lambda data: len(data["gpus"]),
        "runs": lambda data: len(data["task_ids"]),
        "can": "capabilities",
    }
    session.output.many(session.client.workers.list(), columns=columns)


@worker_command.command("show", example="lode worker show local")
@click.argument("worker")
@click.pass_obj
def show(session: Session, worker: str) -> None:
    """Show a worker: what it can do, and what is missing."""
    session.output.one(session.client.workers.get(worker))


@worker_command.command("drain", example="lode worker drain rack-2")
@click.argument("worker")
@click.pass_obj
def drain(session: Session, worker: str) -> None:
    """Let a worker finish what it runs and give it nothing new."""
    session.output.one(session.client.workers.drain(worker))


@worker_command.command("undrain", example="lode worker undrain rack-2")
@click.argument("worker")
@click.pass_obj
def undrain(session: Session, worker: str) -> None:
    """Give a worker tasks again."""
    session.output.one(session.client.workers.undrain(worker))


@worker_command.command("delete", example="lode worker delete rack-2 --yes")
@click.argument("worker")
@click.pass_obj
def delete(session: Session, worker: str) -> None:
    """Remove a worker and end its certificate."""
    session.confirm(f"delete worker {worker}?")
    session.client.workers.delete(worker)
