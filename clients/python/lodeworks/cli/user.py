"""`lode user` and `lode token`: people with access, and your tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lodeworks.cli.quota import user_quota
from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.cli.session import Session

_ROLE = click.option("--role", type=click.Choice(["user", "administrator"]), default="user", show_default=True)


@click.group("user", cls=Noun)
def user_command() -> None:
    """People with access."""


user_command.add_command(user_quota)


@user_command.command("add", example="lode user add ada")
@click.argument("name")
@_ROLE
@click.pass_obj
def add(session: Session, name: str, role: str) -> None:
    """Add a user; prints the first token."""
    made = session.client.users.add(name, role=role)
    session.output.one({"user": made.user.name, "token": made.token})


@user_command.command("ls", example="lode user ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the users."""
    session.output.many(session.client.users.list(), columns={"user": "name", "role": "role", "disabled": "disabled"})


@user_command.command("set", example="lode user set ada --role administrator")
@click.argument("name")
@_ROLE
@click.pass_obj
def set_(session: Session, name: str, role: str) -> None:
    """Change what a user may do outside projects."""
    session.output.one(session.client.users.set(name, role=role))


@user_command.command("disable", example="lode user disable ada --yes")
@click.argument("name")
@click.pass_obj
def disable(session: Session, name: str) -> None:
    """Take away a user's access."""
    session.confirm(f"take away the access of {name}?")
    session.output.one(session.client.users.disable(name))


@click.group("token", cls=Noun)
def token_command() -> None:
    """Your tokens."""


@token_command.command("create", example="lode token create ci --days 90")
@click.argument("name")
@click.option("--days", type=click.IntRange(min=1), default=None, help="How long it lives; default: until revoked.")
@click.pass_obj
def create(session: Session, name: str, days: int | None) -> None:
    """Make a token; its secret is shown this once."""
    made = session.client.tokens.create(name, lifetime_s=(days or 0) * 86_400)
    session.output.one({"id": made.token.id, "token": made.secret})


@token_command.command("ls", example="lode token ls")
@click.pass_obj
def token_ls(session: Session) -> None:
    """List your tokens."""
    columns = {"token": "id", "name": "name", "made": "create_time", "ends": "expire_time", "used": "last_use_time"}
    session.output.many(session.client.tokens.list(), columns=columns)


@token_command.command("revoke", example="lode token revoke ID")
@click.argument("token_id", metavar="ID")
@click.pass_obj
def revoke(session: Session, token_id: str) -> None:
    """End a token."""
    session.client.tokens.revoke(token_id)
