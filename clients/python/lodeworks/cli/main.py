"""The root of `lode`: finds the noun, loads only its file, and turns errors into exit codes."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Any

import click

from lodeworks.cli.output import Output
from lodeworks.cli.session import LodeCommand, Session, apply_options
from lodeworks.errors import LodeError, TaskFailedError, UnreachableError
from lodeworks.profile import Surroundings

_COMMANDS = {
    "up": ("installation", "Start an installation on this machine."),
    "down": ("installation", "Stop it."),
    "status": ("installation", "Show what runs."),
    "demo": ("demo", "Go the whole way once: pictures to a model on a device."),
    "doctor": ("doctor", "Look for what is missing, and say what to do."),
    "login": ("login", "Log in to a server."),
    "logout": ("login", "Forget a server."),
    "whoami": ("login", "Show who you are, and where."),
    "version": ("login", "Show the version of this program."),
    "completion": ("login", "Print the completion script of a shell."),
    "profile": ("login", "Switch between servers."),
    "backup": ("backup", "Everything of an installation in one folder."),
    "project": ("project", "Projects and their members."),
    "class": ("object_class", "The classes of a project."),
    "dataset": ("dataset", "Pictures and annotations, in versions."),
    "model": ("model", "Train, evaluate, publish."),
    "evaluation": ("evaluation", "What a model gets right and wrong."),
    "algorithm": ("algorithm", "What devices run."),
    "device": ("device", "Devices at the edge."),
    "executor": ("executor", "Programs that train, mine and infer."),
    "task": ("task", "What is running and what it says."),
    "schedule": ("schedule", "Tasks that are made at certain times."),
    "worker": ("worker", "Machines that run tasks."),
    "storage": ("storage", "What content takes room."),
    "user": ("user", "People with access."),
    "token": ("user", "Your tokens."),
    "message": ("message", "What happened while you were away."),
    "audit": ("message", "Who did what to what."),
    "webhook": ("webhook", "Signed HTTP requests that tell other programs."),
}


class Root(click.Group):
    """The top level; loads a noun's file when the noun is used."""

    command_class = LodeCommand

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the nouns and verbs in the order a person meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Loads one."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"lodeworks.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the list without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), help="How to print the result.")
@click.option("--project", metavar="NAME", help="Project that is meant.")
@click.option("--profile", metavar="NAME", help="Profile that is meant.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no hints.")
@click.option("--yes", is_flag=True, help="Do not ask before something is destroyed.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def lode(ctx: click.Context, /, **_: Any) -> None:
    """Lodeworks: from raw pictures to a model that runs on a device."""
    apply_options(ctx)


def run(args: list[str] | None = None) -> None:
    """Runs `lode` and exits: 0 done, 1 failed, 2 wrong use, 3 not found, 4 refused, 5 server unreachable."""
    surroundings = Surroundings.read()
    session = Session(surroundings, Output(color=not surroundings.no_color))
    try:
        code = lode.main(args, standalone_mode=False, obj=session, prog_name="lode")
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LodeError as error:
        if session.debug:
            raise
        _complain(session, error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    finally:
        # A second Ctrl-C must not break into the closing.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        session.close()


def _complain(session: Session, error: LodeError) -> None:
    click.echo(f"lode: {error}", err=True)
    if isinstance(error, UnreachableError) and session.is_local:
        click.echo("start your installation with `lode up -d`", err=True)
    if isinstance(error, TaskFailedError):
        for line in error.log_tail:
            click.echo(f"  | {line}", err=True)
        if error.next_step:
            click.echo(f"next: {error.next_step}", err=True)
