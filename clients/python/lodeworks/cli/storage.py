"""`lode storage`: what content takes room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lodeworks.cli.output import size
from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("storage", cls=Noun)
def storage_command() -> None:
    """What content takes room."""


@storage_command.command("usage", example="lode storage usage")
@click.argument("name", metavar="[PROJECT]", default="")
@click.pass_obj
def usage(session: Session, name: str) -> None:
    """Show how much content each project, or one of them, refers to; what two share counts in both."""
    told = session.client.storage.usage(name)
    if session.output.style != "table":
        session.output.one(told)
        return
    columns = {
        "project": "project",
        "blobs": lambda data: data["used"]["blobs"],
        "size": lambda data: size(float(data["used"]["size_bytes"])),
    }
    session.output.many(told.projects, columns=columns)
    if told.HasField("stored"):
        session.output.hint(
            f"stored: {told.stored.blobs} blobs, {size(told.stored.size_bytes)}; nothing refers to "
            f"{told.unreferenced.blobs} of them, {size(told.unreferenced.size_bytes)}"
        )


@storage_command.command("collect", example="lode storage collect --dry-run")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.pass_obj
def collect(session: Session, dry_run: bool) -> None:
    """Remove content that nothing has used for longer than the grace; the controller does so by itself every hour."""
    told = session.client.storage.collect(dry_run=dry_run)
    if session.output.style != "table":
        session.output.one(told)
        return
    what = "would remove" if dry_run else "removed"
    click.echo(f"{what} {told.removed.blobs} blobs, {size(told.removed.size_bytes)}")
    if told.largest:
        session.output.many(
            told.largest, columns={"digest": "digest", "size": lambda one: size(float(one["size_bytes"]))}
        )
