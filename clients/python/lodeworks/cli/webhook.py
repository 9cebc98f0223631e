"""`lode webhook`: signed HTTP requests that tell other programs what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lodeworks.cli.session import NAMES, Noun, flat

if TYPE_CHECKING:
    from lodeworks.blocking.webhook import Webhooks
    from lodeworks.cli.session import Session

_WHOLE = click.option("--installation", is_flag=True, help="Of the whole installation in place of the project.")


def _of(session: Session, *, whole: bool) -> Webhooks:
    return session.client.webhooks if whole else session.project.webhooks


@click.group("webhook", cls=Noun)
def webhook_command() -> None:
    """Signed HTTP requests that tell other programs what happened."""


@webhook_command.command("add", example="lode webhook add chat --url https://hooks.example.org/lode --topic 'task.*'")
@click.argument("name")
@click.option("--url", required=True, help="Where requests go.")
@click.option("--topic", "topics", type=NAMES, multiple=True, metavar="A,B", help="What it hears; default: everything.")
@_WHOLE
@click.pass_obj
def add(session: Session, name: str, url: str, topics: tuple[tuple[str, ...], ...], installation: bool) -> None:
    """Make a webhook; prints the secret that its signatures are checked with."""
    made = _of(session, whole=installation).add(name, url=url, topics=flat(topics))
    session.output.one({"webhook": made.webhook.name, "url": made.webhook.url, "secret": made.secret})
    session.output.hint(f"next: lode webhook test {name}")


@webhook_command.command("ls", example="lode webhook ls")
@_WHOLE
@click.pass_obj
def ls(session: Session, installation: bool) -> None:
    """List the webhooks."""
    columns = {"webhook": "name", "url": "url", "hears": "topics", "waiting": "waiting", "given up": "dead"}
    session.output.many(_of(session, whole=installation).list(), columns=columns)


@webhook_command.command("show", example="lode webhook show chat")
@click.argument("webhook")
@_WHOLE
@click.pass_obj
def show(session: Session, webhook: str, installation: bool) -> None:
    """Show a webhook with its secret."""
    found = _of(session, whole=installation).get(webhook)
    if session.output.style != "table":
        session.output.one(found)
        return
    session.output.one(found.webhook)
    click.echo(f"secret  {found.secret}")


@webhook_command.command("delete", example="lode webhook delete chat --yes")
@click.argument("webhook")
@_WHOLE
@click.pass_obj
def delete(session: Session, webhook: str, installation: bool) -> None:
    """Remove a webhook and what waits for it."""
    session.confirm(f"delete webhook {webhook} and what waits for it?")
    _of(session, whole=installation).delete(webhook)


@webhook_command.command("test", example="lode webhook test chat")
@click.argument("webhook")
@_WHOLE
@click.pass_obj
def test(session: Session, webhook: str, installation: bool) -> None:
    """Send a test event."""
    made = _of(session, whole=installation).test(webhook)
    session.output.one({"delivery": made.id, "topic": made.topic})
    session.output.hint(f"next: lode webhook deliveries {webhook}")


@webhook_command.command("deliveries", example="lode webhook deliveries chat --state dead")
@click.argument("webhook")
@click.option("--state", type=click.Choice(["waiting", "delivered", "dead"]), default=None, help="Only these.")
@_WHOLE
@click.pass_obj
def deliveries(session: Session, webhook: str, state: str | None, installation: bool) -> None:
    """List what was sent and what waits, newest first."""
    columns = {
        "delivery": "id",
        "topic": "topic",
        "state": "state",
        "tries": "attempts",
        "happened": "create_time",
        "next": "next_time",
        "last try": lambda data: data["tries"][-1]["error"] or data["tries"][-1]["status"] if data["tries"] else "",
    }
    session.output.many(_of(session, whole=installation).deliveries(webhook, state=state or ""), columns=columns)


@webhook_command.command("redeliver", example="lode webhook redeliver chat")
@click.argument("webhook")
@click.argument("delivery", required=False, default="")
@_WHOLE
@click.pass_obj
def redeliver(session: Session, webhook: str, delivery: str, installation: bool) -> None:
    """Send a delivery again, or all that were given up."""
    session.output.one({"sent again": _of(session, whole=installation).redeliver(webhook, delivery)})
