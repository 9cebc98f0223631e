"""`lode up`, `lode down`, `lode status`: an installation on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lodeworks.cli import programs
from lodeworks.cli.local import LocalInstallation
from lodeworks.cli.session import LodeCommand
from lodeworks.profile import Profiles

if TYPE_CHECKING:
    from lodeworks.cli.session import Session

_STATE = click.option(
    "--state", type=click.Path(path_type=Path), default=None, metavar="DIR", help="Folder of everything it writes."
)
_LOOK_S = 0.5


def _installation(session: Session, state: Path | None) -> LocalInstallation:
    folder = (state or session.surroundings.data_folder).expanduser().absolute()
    return LocalInstallation(folder, session.output.hint)


@click.command("up", cls=LodeCommand, example="lode up -d")
@click.option("-d", "--detach", is_flag=True, help="Return when it is ready; it goes on until `lode down`.")
@click.option("--no-worker", is_flag=True, help="Only the controller.")
@_STATE
@click.pass_obj
def up_command(session: Session, detach: bool, no_worker: bool, state: Path | None) -> None:
    """Start a controller and a worker on this machine, and log in to them."""
    installation = _installation(session, state)
    started_s = time.monotonic()
    profile = installation.up(with_worker=not no_worker)
    Profiles(session.surroundings.config_folder).save(profile, use=False)
    session.output.hint(f"ready after {time.monotonic() - started_s:.1f} s: {profile.server}, profile `local`")
    session.output.hint("next: lode dataset import PICTURES.zip --unknown-classes add")
    if detach:
        return
    session.output.hint("Ctrl-C stops it; `lode up -d` leaves it running")
    try:
        while (running := installation.program("controller")) is not None and running.alive:
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        installation.down()
        return
    raise click.ClickException(
        f"the controller ended: {programs.last_line(installation.log_folder / 'controller.log')}"
    )


@click.command("down", cls=LodeCommand, example="lode down")
@_STATE
@click.pass_obj
def down_command(session: Session, state: Path | None) -> None:
    """Stop the controller and the worker; what they keep stays."""
    session.output.hint("stopped" if _installation(session, state).down() else "nothing runs here")


@click.command("status", cls=LodeCommand, example="lode status")
@_STATE
@click.pass_obj
def status_command(session: Session, state: Path | None) -> None:
    """Show what runs on this machine."""
    installation = _installation(session, state)
    parts = {name: installation.program(name) for name in ("controller", "worker")}
    document = {
        "state": str(installation.folder),
        "server": installation.address(),
        **{name: f"runs (pid {part.pid})" if part else "stopped" for name, part in parts.items()},
        "logs": str(installation.log_folder),
    }
    session.output.one(document)
    if parts["controller"] is None:
        raise click.exceptions.Exit(1)
