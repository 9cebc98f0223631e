"""What the command line and the client promise about each other."""

from __future__ import annotations

import click
import pytest
from lodeworks.cli.main import lode
from lodeworks.cli.session import LodeCommand


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{' '.join((*path, name))} is listed and not there"
        if isinstance(command, click.Group):
            found += _commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


COMMANDS = _commands(lode)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_shows_an_example_of_itself(path: tuple[str, ...], command: click.Command):
    assert isinstance(command, LodeCommand)
    assert " ".join(("lode", *path)) in command.example
    assert command.help
