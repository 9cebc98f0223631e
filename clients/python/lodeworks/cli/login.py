"""`lode login` and what goes with it: profiles, who and what answers, completion."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

import click

from lodeworks.cli.session import LodeCommand, Noun
from lodeworks.profile import Profile, Profiles

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.command("login", cls=LodeCommand, example="lode login lab.example:7443 --ca sha256:…")
@click.argument("server")
@click.option("--ca", "fingerprint", required=True, metavar="SHA256", help="Fingerprint of the server's authority.")
@click.option("--token", default=None, help="Your token; asked for without this option.")
@click.option("--name", default="", help="Name of the profile; default: the server.")
@click.pass_obj
def login_command(session: Session, server: str, fingerprint: str, token: str | None, name: str) -> None:
    """Log in to a server and keep it as a profile; several controllers with commas between."""
    from lodeworks.blocking.client import Client
    from lodeworks.channel.addresses import addresses_of
    from lodeworks.channel.errors import ChannelError
    from lodeworks.channel.pinning import fetch_authority
    from lodeworks.errors import UnreachableError

    secret = token or click.prompt("token", hide_input=True, err=True)
    try:
        authority = fetch_authority(server, pinned=fingerprint)
    except ChannelError as error:
        raise UnreachableError(str(error), reason=error.reason) from error
    profile = Profile(
        name=name or server,
        server=server,
        ca_pem=authority.decode("ascii"),
        ca_fingerprint=fingerprint,
        token=secret,
    )
    client = Client(profile)
    try:
        who = client.users.whoami()
    finally:
        client.close()
    # An installation of several controllers names them all, so that losing the one dialled is no matter.
    known = ",".join(dict.fromkeys([*addresses_of(server), *who.server.addresses]))
    profile = replace(profile, server=known)
    Profiles(session.surroundings.config_folder).save(profile, use=True)
    session.output.hint(f"logged in to {known} as {who.user.name}")


@click.command("logout", cls=LodeCommand, example="lode logout")
@click.argument("name", required=False)
@click.pass_obj
def logout_command(session: Session, name: str | None) -> None:
    """Forget a profile; without a name the current one."""
    profiles = Profiles(session.surroundings.config_folder)
    profiles.forget(name or profiles.current())


@click.command("whoami", cls=LodeCommand, example="lode whoami")
@click.pass_obj
def whoami_command(session: Session) -> None:
    """Show who you are, and where."""
    who = session.client.users.whoami()
    rows = [
        ("user", who.user.name),
        ("server", session.client.profile.server),
        ("version", who.server.version),
        ("authority", who.server.ca_fingerprint),
    ]
    session.output.one(who, rows=rows)


@click.command("version", cls=LodeCommand, example="lode version")
@click.pass_obj
def version_command(session: Session) -> None:
    """Show the version of this program."""
    session.output.one({"lode": metadata.version("lodeworks")})


@click.command("completion", cls=LodeCommand, example='eval "$(lode completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion_command(session: Session, shell: str) -> None:  # noqa: ARG001 - every command takes the session
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from lodeworks.cli.main import lode

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(lode, {}, "lode", "_LODE_COMPLETE").source())


@click.group("profile", cls=Noun)
def profile_command() -> None:
    """Switch between servers."""


@profile_command.command("ls", example="lode profile ls")
@click.pass_obj
def profile_ls(session: Session) -> None:
    """List the profiles."""
    profiles = Profiles(session.surroundings.config_folder)
    current = profiles.current()
    rows = [
        {"profile": name, "server": profiles.get(name).server, "in use": name == current} for name in profiles.names()
    ]
    session.output.many(rows, columns={"profile": "profile", "server": "server", "in use": "in use"})


@profile_command.command("use", example="lode profile use local")
@click.argument("name")
@click.pass_obj
def profile_use(session: Session, name: str) -> None:
    """Use a profile from now on."""
    Profiles(session.surroundings.config_folder).use(name)
