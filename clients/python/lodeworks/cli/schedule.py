"""`lode schedule`: tasks that are made at certain times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.session import Noun, Session

if TYPE_CHECKING:
    from lodeworks.blocking.project import Project

_COLUMNS = {
    "schedule": "name",
    "cron": "cron",
    "zone": "time_zone",
    "makes": "method",
    "next": lambda data: "paused" if data["paused"] else data["next_time"],
    "latest": lambda data: (data["latest"] or {}).get("state", ""),
    "task": lambda data: (data["latest"] or {}).get("task_id", ""),
}


@dataclass(slots=True)
class _Noting(Session):
    """A session whose project notes what would make a task, in place of making it."""

    noting: Project | None = None

    @property
    def project(self) -> Project:
        """Returns the project that notes."""
        assert self.noting is not None
        return self.noting


@click.group("schedule", cls=Noun)
def schedule_command() -> None:
    """Tasks that are made at certain times."""


@schedule_command.command(
    "add",
    example="lode schedule add nightly --cron '30 2 * * 1-5' --time-zone Europe/Berlin -- "
    "model train --train train --val val",
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True)
@click.option("--cron", required=True, help="Minute, hour, day of month, month, day of week; or @daily.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name of the zone that --cron is read in.")
@click.option(
    "--misfire",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="What to do about fires that nobody was there for.",
)
@click.pass_obj
def add(session: Session, name: str, command: tuple[str, ...], cron: str, time_zone: str, misfire: str) -> None:
    """Carry out a command that makes a task at certain times; the command follows `--`, without `lode`."""
    from lodeworks.cli.main import lode

    words = list(command[1:] if command[0] == "lode" else command)

    def what(noting: Project) -> None:
        inner = _Noting(session.surroundings, session.output, session.profile, noting=noting)
        lode.main(words, standalone_mode=False, obj=inner, prog_name="lode")

    made = session.project.schedules.add(name, cron=cron, time_zone=time_zone, misfire=misfire, what=what)
    session.output.one(made)
    session.output.hint(f"next: lode schedule fires {name}")


@schedule_command.command("ls", example="lode schedule ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the schedules."""
    session.output.many(session.project.schedules.list(), columns=_COLUMNS)


@schedule_command.command("show", example="lode schedule show nightly")
@click.argument("schedule")
@click.pass_obj
def show(session: Session, schedule: str) -> None:
    """Show a schedule."""
    session.output.one(session.project.schedules.get(schedule))


@schedule_command.command("pause", example="lode schedule pause nightly")
@click.argument("schedule")
@click.pass_obj
def pause(session: Session, schedule: str) -> None:
    """Stop a schedule from firing."""
    session.output.one(session.project.schedules.pause(schedule))


@schedule_command.command("resume", example="lode schedule resume nightly")
@click.argument("schedule")
@click.pass_obj
def resume(session: Session, schedule: str) -> None:
    """Let a schedule fire again from now on."""
    session.output.one(session.project.schedules.resume(schedule))


@schedule_command.command("delete", example="lode schedule delete nightly --yes")
@click.argument("schedule")
@click.pass_obj
def delete(session: Session, schedule: str) -> None:
    """Remove a schedule; what it made stays."""
    session.confirm(f"delete schedule {schedule}?")
    session.project.schedules.delete(schedule)


@schedule_command.command("fires", example="lode schedule fires nightly")
@click.argument("schedule")
@click.pass_obj
def fires(session: Session, schedule: str) -> None:
    """List the fires of a schedule, newest first."""
    columns: dict[str, Any] = {"fired": "fire_time", "state": "state", "task": "task_id", "why": "message"}
    session.output.many(session.project.schedules.fires(schedule), columns=columns)
