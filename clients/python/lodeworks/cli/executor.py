"""`lode executor`: programs that train, mine and infer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("executor", cls=Noun)
def executor_command() -> None:
    """Programs that train, mine and infer."""


@executor_command.command("ls", example="lode executor ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the executors."""
    columns = {"executor": "name", "kind": "kind", "can": "operations", "available": "available"}
    session.output.many(session.client.executors.list(), columns=columns)


@executor_command.command("show", example="lode executor show detector")
@click.argument("executor")
@click.pass_obj
def show(session: Session, executor: str) -> None:
    """Show an executor with its settings."""
    found = session.client.executors.get(executor)
    rows = [
        ("executor", found.name),
        ("kind", found.kind),
        ("image", found.image),
        ("can", list(found.operations)),
        ("available", found.available or found.unavailable_reason),
    ]
    session.output.one(found, rows=rows)
    if session.output.style == "table":
        for template in found.templates:
            click.echo(f"\nsettings for {template.operation}:\n{template.template_yaml.rstrip()}")


@executor_command.command("add", example="lode executor add yolo --image yolo@sha256:… --templates img-man/")
@click.argument("name")
@click.option("--image", required=True, help="Reference with digest.")
@click.option(
    "--templates",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with training-, mining- and infer-template.yaml, as in /img-man of the image.",
)
@click.pass_obj
def add(session: Session, name: str, image: str, templates: Path) -> None:
    """Register a docker image as an executor."""
    files = {"train": "training-template.yaml", "mine": "mining-template.yaml", "infer": "infer-template.yaml"}
    found = {
        operation: (templates / file).read_text("utf-8")
        for operation, file in files.items()
        if (templates / file).exists()
    }
    if not found:
        raise click.UsageError(f"{templates} holds none of {', '.join(files.values())}")
    session.output.one(session.client.executors.add(name, image=image, templates=found))


@executor_command.command("delete", example="lode executor delete yolo --yes")
@click.argument("executor")
@click.pass_obj
def delete(session: Session, executor: str) -> None:
    """Remove an executor that no task uses."""
    session.confirm(f"delete executor {executor}?")
    session.client.executors.delete(executor)
