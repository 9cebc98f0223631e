"""`lode executor`: programs that train, mine and infer."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lodeworks.cli.executor_registry import CHANGES, print_executor
from lodeworks.cli.session import Noun
from lodeworks.errors import LodeError

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("executor", cls=Noun)
def executor_command() -> None:
    """Programs that train, mine and infer."""


for change in CHANGES:
    executor_command.add_command(change)


@executor_command.command("ls", example="lode executor ls --public")
@click.option("--public", is_flag=True, help="Only public ones that people registered.")
@click.pass_obj
def ls(session: Session, public: bool) -> None:
    """List the executors: the platform's own, and those that people registered."""
    columns = {
        "executor": "name",
        "kind": "kind",
        "can": "operations",
        "project": lambda data: "public" if data["public"] else data["project"],
        "available": "available",
        "image": "image",
    }
    session.output.many(session.client.executors.list(public=public), columns=columns)


@executor_command.command("show", example="lode executor show detector")
@click.argument("executor")
@click.pass_obj
def show(session: Session, executor: str) -> None:
    """Show an executor with its settings."""
    print_executor(session, session.client.executors.get(executor), templates=True)


@executor_command.command("delete", example="lode executor delete yolo --yes")
@click.argument("executor")
@click.pass_obj
def delete(session: Session, executor: str) -> None:
    """Remove an executor that nothing uses."""
    session.confirm(f"delete executor {executor}?")
    session.client.executors.delete(executor)


@executor_command.command("new", example="lode executor new my-executor")
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def new(session: Session, folder: Path) -> None:
    """Write an executor to begin with: code, settings, Dockerfile and what its image installs."""
    if importlib.util.find_spec("lodeworks_executor") is None:
        raise LodeError("lodeworks-executor is not installed; `pip install lodeworks-executor`", reason="SDK_MISSING")
    done = subprocess.run(
        [sys.executable, "-m", "lodeworks_executor", "new", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise LodeError(said[-1], reason="NOT_WRITTEN")
    if session.output.style == "table":
        click.echo(done.stdout, nl=False)
    else:
        session.output.many(({"path": path} for path in done.stdout.splitlines()), columns={"path": "path"})
    session.output.hint(f"next: docker build -t {folder.name} {folder}")
