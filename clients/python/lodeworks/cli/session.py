"""What every command shares: the options, the client, the way of printing."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from lodeworks.profile import Surroundings, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lodeworks.blocking.client import Client
    from lodeworks.blocking.project import Project
    from lodeworks.cli.output import Output


@dataclass(slots=True)
class Session:
    """One run of ``lode``.

    Attributes:
        surroundings: What the environment says.
        output: How to print.
        profile: Name of the profile; empty = the current one.
        project: Name of the project; empty = the profile's.
        yes: True when the user has said yes to everything.
        debug: True when tracebacks are wanted.
        asked: What the command line asks for with its task, by the name of the option.
    """

    surroundings: Surroundings
    output: Output
    profile: str = ""
    project_name: str = ""
    yes: bool = False
    debug: bool = False
    asked: dict[str, Any] = field(default_factory=dict)
    _client: Client | None = field(default=None, repr=False)

    @property
    def client(self) -> Client:
        """Returns the client, dialling at the first call."""
        if self._client is None:
            from lodeworks.blocking.client import Client

            self._client = Client(choose(self.surroundings, name=self.profile, project=self.project_name))
        return self._client

    @property
    def is_local(self) -> bool:
        """Says whether an installation that `lode up` started is meant."""
        return self._client is not None and self._client.profile.name == "local"

    @property
    def project(self) -> Project:
        """Returns the project that is meant."""
        return self.client.project()

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._client is not None:
            self._client.close()

    def confirm(self, what: str) -> None:
        """Asks before something is destroyed; ends the command on no."""
        if not self.yes and sys.stdin.isatty():
            click.confirm(what, abort=True, err=True)


_COMMON = (
    click.Option(["-o", "--output"], type=click.Choice(["table", "json", "yaml"]), help="How to print the result."),
    click.Option(["--project"], metavar="NAME", help="Project that is meant."),
    click.Option(["--profile"], metavar="NAME", help="Profile that is meant."),
    click.Option(["-q", "--quiet"], is_flag=True, default=None, help="No progress and no hints."),
    click.Option(["--yes"], is_flag=True, default=None, help="Do not ask before something is destroyed."),
    click.Option(["--debug"], is_flag=True, default=None, help="Show tracebacks."),
)


class LodeCommand(click.Command):
    """A command that knows the common options and shows an example.

    Args:
        example: A command line that a user could type.
    """

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params = [*self.params, *_COMMON]

    def invoke(self, ctx: click.Context) -> Any:
        """Hands the common options to the session and runs the command."""
        apply_options(ctx)
        return super().invoke(ctx)

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the example."""
        with formatter.section("Example"):
            formatter.write_text(self.example)


class Noun(click.Group):
    """A group of verbs on one noun, with `ls` and `rm` beside `list` and `delete`."""

    command_class = LodeCommand

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Finds a verb by its name or alias."""
        alias = {"list": "ls", "rm": "delete"}.get(cmd_name, cmd_name)
        return super().get_command(ctx, alias)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the verb, or says which are close."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.message} (there are: {known})", ctx) from None


def apply_options(ctx: click.Context) -> None:
    """Moves the common options from the command's parameters into the session."""
    session: Session = ctx.obj
    found = {option.name: ctx.params.pop(option.name, None) for option in _COMMON if option.name}
    session.output.style = found["output"] or session.output.style
    session.output.quiet = session.output.quiet or bool(found["quiet"])
    session.project_name = found["project"] or session.project_name
    session.profile = found["profile"] or session.profile
    session.yes = session.yes or bool(found["yes"])
    session.debug = session.debug or bool(found["debug"])


class Names(click.ParamType[tuple[str, ...]]):
    """A list that may be repeated or comma-separated."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Splits at commas."""
        del param, ctx  # click's signature
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


NAMES = Names()


def flat(values: Iterable[Sequence[str]]) -> list[str]:
    """Joins what was repeated and comma-separated."""
    return [name for value in values for name in value]


def pairs(values: Sequence[str], *, option: str) -> dict[str, str]:
    """Reads ``key=value`` options. Raises UsageError."""
    found = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} takes key=value, not {value!r}")
        found[key] = text
    return found


def settings_of(values: Sequence[str]) -> dict[str, Any]:
    """Reads ``--set key=value`` options; values are YAML, so that 20 is a number."""
    import yaml

    return {key: yaml.safe_load(text) for key, text in pairs(values, option="--set").items()}
