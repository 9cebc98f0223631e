"""`lode demo`: the whole way once, one line per step with its figure and its time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lodeworks.cli.demo_steps import Demonstration
from lodeworks.cli.local import LocalInstallation
from lodeworks.cli.session import LodeCommand

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks.cli.session import Session


@click.command("demo", cls=LodeCommand, example="lode demo --keep")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("lode-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder of everything it writes.",
)
@click.option("--keep", is_flag=True, help="Leave installation and device running.")
@click.option("--seed", type=int, default=7, show_default=True, help="Other pictures, other draws.")
@click.option("--pictures", type=click.IntRange(min=60), default=520, show_default=True, help="How many are made.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Per training; default: chosen to fit.")
@click.pass_obj
def demo_command(session: Session, state: Path, keep: bool, seed: int, pictures: int, epochs: int | None) -> None:
    """Go the whole way once: pictures, training, mining, publishing, a device that proves what it runs."""
    folder = state.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    table = _Table(quiet=session.output.quiet)
    installation = LocalInstallation(folder / "state", lambda _: None)
    demonstration = Demonstration(installation, folder, seed=seed, pictures=pictures, epochs=epochs)
    try:
        for name, step in demonstration.steps():
            table.row(name, step)
        table.end()
    finally:
        if not keep:
            demonstration.close()
            installation.down()
    click.echo(f"\n{folder / 'report.html'}   the mistakes of the second model, box by box")
    click.echo(f"{folder / 'answer.png'}    what the device answered, drawn")
    click.echo("\nnext:")
    for command in demonstration.next_commands():
        click.echo(f"  {command}")


class _Table:
    """Prints one line per step: what, the figure, the seconds.

    Args:
        quiet: True leaves out what is going on.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._started_s = time.monotonic()

    def row(self, name: str, step: Callable[[], str]) -> None:
        """Runs a step and prints its line."""
        started_s = time.monotonic()
        if not self._quiet:
            click.echo(f"  {name} …\r", nl=False, err=True)
        figure = step()
        seconds = time.monotonic() - started_s
        first, *others = figure.splitlines()
        click.echo(f"{name:<20}{first:<84}{seconds:6.1f} s")
        for line in others:
            click.echo(f"{'':<20}{line}")

    def end(self) -> None:
        """Prints the sum."""
        click.echo(f"{'all':<20}{'':<84}{time.monotonic() - self._started_s:6.1f} s")
