"""`lode class`: the classes of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lodeworks.cli.session import NAMES, Noun, flat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lodeworks.api.object_class.v1.object_class_pb2 import Class
    from lodeworks.cli.session import Session


@click.group("class", cls=Noun)
def class_command() -> None:
    """The classes of a project."""


def _print(session: Session, classes: Iterable[Class]) -> None:
    session.output.many(classes, columns={"class": "name", "aliases": "aliases"})


@class_command.command("add", example='lode class add RBC --alias "red cell"')
@click.argument("names", nargs=-1, required=True)
@click.option("--alias", "aliases", type=NAMES, multiple=True, help="Other names of the (only) class.")
@click.pass_obj
def add(session: Session, names: tuple[str, ...], aliases: tuple[tuple[str, ...], ...]) -> None:
    """Add classes at the end of the map."""
    if aliases and len(names) > 1:
        raise click.UsageError("--alias goes with one class at a time")
    _print(session, session.project.classes.add({name: flat(aliases) for name in names}))


@class_command.command("ls", example="lode class ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the classes."""
    _print(session, session.project.classes.list())


@class_command.command("rename", example="lode class rename RBC erythrocyte")
@click.argument("name")
@click.argument("new_name")
@click.pass_obj
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a class another name; the old one becomes an alias."""
    _print(session, session.project.classes.rename(name, new_name))


@class_command.command("alias", example='lode class alias RBC --add "red cell"')
@click.argument("name")
@click.option("--add", "added", type=NAMES, multiple=True, help="Aliases to add.")
@click.option("--remove", "removed", type=NAMES, multiple=True, help="Aliases to take away.")
@click.pass_obj
def alias(
    session: Session, name: str, added: tuple[tuple[str, ...], ...], removed: tuple[tuple[str, ...], ...]
) -> None:
    """Add and remove other names of a class."""
    _print(session, session.project.classes.alias(name, add=flat(added), remove=flat(removed)))


@class_command.command("merge", example="lode class merge rbc,RedCell --to RBC")
@click.argument("names", nargs=-1, required=True, type=NAMES)
@click.option("--to", "into", required=True, metavar="NAME", help="The class that stays.")
@click.pass_obj
def merge(session: Session, names: tuple[tuple[str, ...], ...], into: str) -> None:
    """Turn classes into aliases of another one."""
    _print(session, session.project.classes.merge(flat(names), into=into))


@class_command.command("delete", example="lode class delete Platelets --yes")
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Take a class out of the map; its boxes are kept and ignored."""
    session.confirm(f"take class {name} out of the map?")
    _print(session, session.project.classes.delete(name))
