"""`lode backup`: everything of an installation on this machine in one folder, taken while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lodeworks.cli import programs
from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.cli.session import Session

_STATE = click.option(
    "--state", type=click.Path(path_type=Path), default=None, metavar="DIR", help="Folder of `lode up --state`."
)
_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.group("backup", cls=Noun)
def backup_command() -> None:
    """Everything of an installation in one folder."""


@backup_command.command("create", example="lode backup create ~/backups/monday")
@_FOLDER
@click.option("--copy", is_flag=True, help="Copy content that could be linked.")
@_STATE
@click.pass_obj
def create(session: Session, folder: Path, copy: bool, state: Path | None) -> None:
    """Take a backup of the installation on this machine, while it runs."""
    _run("backup", folder.absolute(), *(["--copy"] if copy else []), state=_controller(session, state))
    session.output.hint(f"next: lode backup verify {folder}")


@backup_command.command("verify", example="lode backup verify ~/backups/monday")
@_FOLDER
@click.pass_obj
def verify(session: Session, folder: Path) -> None:
    """Look whether a backup is whole: reads every byte of it."""
    _run("verify", folder.absolute(), state=_controller(session, None))


@backup_command.command("restore", example="lode backup restore ~/backups/monday --state ~/lode-again")
@_FOLDER
@click.option(
    "--state", type=click.Path(path_type=Path), required=True, metavar="DIR", help="An empty folder, or none yet."
)
@click.pass_obj
def restore(session: Session, folder: Path, state: Path) -> None:
    """Bring a backup back to where nothing is."""
    _run("restore", folder.absolute(), state=_controller(session, state))
    session.output.hint(f"next: lode up -d --state {state}")


def _controller(session: Session, state: Path | None) -> Path:
    return (state or session.surroundings.data_folder).expanduser().absolute() / "controller"


def _run(command: str, folder: Path, *more: str, state: Path) -> None:
    """Runs the controller's program, which speaks for itself, and ends as it ends."""
    words = [programs.find("lode-controller"), command, str(folder), *more, "--state", str(state)]
    code = subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        sys.exit(code)
