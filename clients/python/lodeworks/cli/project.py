"""`lode project`: projects and their members."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lodeworks.cli.quota import project_quota
from lodeworks.cli.session import NAMES, Noun, flat

if TYPE_CHECKING:
    from lodeworks.cli.session import Session

_COLUMNS = {"name": "name", "classes": "class_names", "role": "role", "made": "create_time"}


@click.group("project", cls=Noun)
def project_command() -> None:
    """Projects and their members."""


project_command.add_command(project_quota)


@project_command.command("create", example="lode project create cells --class RBC,WBC,Platelets")
@click.argument("name")
@click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="First classes of its map.")
@click.option("--description", default="", help="For people.")
@click.pass_obj
def create(session: Session, name: str, classes: tuple[tuple[str, ...], ...], description: str) -> None:
    """Make a project."""
    made = session.client.projects.create(name, classes=flat(classes), description=description)
    session.output.one(made.data)
    session.output.hint(f"next: lode project use {name}")


@project_command.command("ls", example="lode project ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the projects."""
    session.output.many((entry.data for entry in session.client.projects.list()), columns=_COLUMNS)


@project_command.command("show", example="lode project show cells")
@click.argument("name", required=False)
@click.pass_obj
def show(session: Session, name: str | None) -> None:
    """Show a project; without a name the one in use."""
    session.output.one((session.client.projects.get(name) if name else session.project).data)


@project_command.command("use", example="lode project use cells")
@click.argument("name")
@click.pass_obj
def use(session: Session, name: str) -> None:
    """Mean this project from now on when none is named."""
    from lodeworks.profile import Profiles

    found = session.client.projects.get(name)
    profiles = Profiles(session.surroundings.config_folder)
    profiles.save(replace(profiles.get(session.client.profile.name), project=found.name), use=False)
    session.output.hint(f"using project {found.name}")


@project_command.group("member", cls=Noun)
def member() -> None:
    """Members of a project."""


@member.command("add", example="lode project member add ada --role editor")
@click.argument("user")
@click.option("--role", type=click.Choice(["viewer", "editor", "owner"]), default="editor", show_default=True)
@click.pass_obj
def member_add(session: Session, user: str, role: str) -> None:
    """Give a user a role."""
    session.output.one(session.project.add_member(user, role))


@member.command("ls", example="lode project member ls")
@click.pass_obj
def member_ls(session: Session) -> None:
    """List the members."""
    session.output.many(session.project.members(), columns={"user": "user_name", "role": "role"})


@member.command("remove", example="lode project member remove ada")
@click.argument("user")
@click.pass_obj
def member_remove(session: Session, user: str) -> None:
    """Take a user out."""
    session.project.remove_member(user)


@project_command.command("rename", example="lode project rename cells blood-cells")
@click.argument("name")
@click.argument("new_name")
@click.pass_obj
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a project another name."""
    session.output.one(session.client.projects.rename(name, new_name).data)


@project_command.command("delete", example="lode project delete cells --yes")
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Archive a project; its content is removed after a grace."""
    session.confirm(f"delete project {name}?")
    session.client.projects.delete(name)
