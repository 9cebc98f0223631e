"""`lode message` and `lode audit`: what happened, to you and at all."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.cli.session import Session

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.group("message", cls=Noun)
def message_command() -> None:
    """What happened while you were away."""


@message_command.command("ls", example="lode message ls --unread")
@click.option("--unread", is_flag=True, help="Only what you have not read.")
@click.pass_obj
def ls(session: Session, unread: bool) -> None:
    """List your messages, newest first."""
    columns = {
        "message": "id",
        "when": "create_time",
        "new": lambda data: "new" if data["read_time"] is None else "",
        "what": "text",
    }
    session.output.many(session.client.messages.list(unread=unread), columns=columns)


@message_command.command("read", example="lode message read")
@click.argument("messages", nargs=-1, metavar="[ID]...")
@click.pass_obj
def read(session: Session, messages: tuple[str, ...]) -> None:
    """Mark messages as read; without ids all of them."""
    session.output.one({"read": session.client.messages.read(messages)})


class Moment(click.ParamType[datetime]):
    """A moment: 2026-05-01, 2026-05-01T12:00, or 30m, 2h, 7d ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it; what names no zone is this machine's time."""
        if isinstance(value, datetime):
            return value
        ago = re.fullmatch(r"(\d+)([smhdw])", value)
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            self.fail(f"{value!r} is no moment; write 2026-05-01, 2026-05-01T12:00, 30m, 2h or 7d", param, ctx)


_MOMENT = Moment()


@click.group("audit", cls=Noun)
def audit_command() -> None:
    """Who did what to what."""


@audit_command.command("ls", example="lode audit ls --actor ada --since 7d")
@click.option("--installation", is_flag=True, help="The whole installation in place of the project.")
@click.option("--actor", default="", help="Name of a user, or worker:ID, device:ID, controller.")
@click.option("--action", default="", help="Such as task.cancel, or 'task.*'.")
@click.option("--subject", default="", metavar="ID", help="What it was done to.")
@click.option("--since", type=_MOMENT, default=None, help="2026-05-01, 2h, 7d …")
@click.option("--until", type=_MOMENT, default=None, help="As --since.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing entries as they come.")
@click.pass_obj
def audit_ls(
    session: Session,
    installation: bool,
    actor: str,
    action: str,
    subject: str,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    follow: bool,
) -> None:
    """List entries of the audit log, newest first."""
    from itertools import islice

    log = session.client.audit if installation else session.project.audit
    if follow:
        for entry in log.follow(actor=actor, action=action, subject=subject, since=since or datetime.now(UTC)):
            session.output.line(entry, text=_line(entry))
        return
    columns = {
        "when": "time",
        "who": lambda data: data["actor_name"] or data["actor"],
        "did": "action",
        "to": "subject",
        "more": "detail_json",
    }
    found = log.list(actor=actor, action=action, subject=subject, since=since, until=until)
    session.output.many(islice(found, limit), columns=columns)


def _line(entry: Any) -> str:
    who = entry.actor_name or entry.actor
    return f"{entry.time.ToJsonString()}  {who}  {entry.action}  {entry.subject}  {entry.detail_json}"
