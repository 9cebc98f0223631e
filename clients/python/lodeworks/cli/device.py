"""`lode device`: devices at the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.deployment import follow_deployment, print_device
from lodeworks.cli.session import Noun, pairs

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("device", cls=Noun)
def device_command() -> None:
    """Devices at the edge."""


@device_command.command("add", example="lode device add gate-1 --label line=3")
@click.argument("name")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Labels for groups.")
@click.pass_obj
def add(session: Session, name: str, labels: tuple[str, ...]) -> None:
    """Announce a device; prints the line to type on it."""
    made = session.project.devices.add(name, labels=pairs(labels, option="--label"))
    server = session.client.profile.server
    line = f"lode-device enroll {server} --ca {made.ca_fingerprint} --token {made.token}"
    if session.output.style != "table":
        session.output.document({"device": made.device.name, "token": made.token, "line": line})
        return
    session.output.hint("type this on the device:")
    click.echo(line)


@device_command.command("ls", example="lode device ls --label line=3")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Only with these labels.")
@click.pass_obj
def ls(session: Session, labels: tuple[str, ...]) -> None:
    """List the devices."""
    found = session.project.devices.list(labels=pairs(labels, option="--label"))
    columns: dict[str, Any] = {
        "device": "name",
        "state": "state",
        "labels": "labels",
        "runs": lambda data: [f"{entry['active_release']} {entry['phase']}" for entry in data["reported"]],
        "last seen": "last_seen_time",
    }
    session.output.many((entry.data for entry in found), columns=columns)


@device_command.command("show", example="lode device show gate-1")
@click.argument("device")
@click.pass_obj
def show(session: Session, device: str) -> None:
    """Show what a device shall run and what it says it runs."""
    print_device(session, session.project.devices.get(device))


@device_command.command("set", example="lode device set gate-1 cells --conf 0.4")
@click.argument("device")
@click.argument("algorithm")
@click.option("--conf", type=click.FloatRange(0, 1), default=None, help="Boxes below are not answered.")
@click.pass_obj
def set_(session: Session, device: str, algorithm: str, conf: float | None) -> None:
    """Change the settings of an algorithm on a device."""
    print_device(session, session.project.devices.get(device).set(algorithm, confidence=conf))


@device_command.command("start", example="lode device start gate-1 cells")
@click.argument("device")
@click.argument("algorithm")
@click.pass_obj
def start(session: Session, device: str, algorithm: str) -> None:
    """Start a stopped algorithm."""
    print_device(session, session.project.devices.get(device).start(algorithm))


@device_command.command("stop", example="lode device stop gate-1 cells")
@click.argument("device")
@click.argument("algorithm")
@click.pass_obj
def stop(session: Session, device: str, algorithm: str) -> None:
    """Stop an algorithm; its package stays on the device."""
    print_device(session, session.project.devices.get(device).stop(algorithm))


@device_command.command("undeploy", example="lode device undeploy gate-1 cells")
@click.argument("device")
@click.argument("algorithm")
@click.pass_obj
def undeploy(session: Session, device: str, algorithm: str) -> None:
    """Take an algorithm off a device."""
    print_device(session, session.project.devices.get(device).undeploy(algorithm))


@device_command.command("rollback", example="lode device rollback gate-1 cells")
@click.argument("device")
@click.argument("algorithm")
@click.option("--detach", is_flag=True, help="Do not wait for the device.")
@click.pass_obj
def rollback(session: Session, device: str, algorithm: str, detach: bool) -> None:
    """Go back to the release that was committed before."""
    follow_deployment(session, session.project.devices.get(device).rollback(algorithm), detach=detach)


@device_command.command("label", example="lode device label gate-1 line=4 --remove site")
@click.argument("device")
@click.argument("labels", nargs=-1)
@click.option("--remove", multiple=True, metavar="K", help="Labels to remove.")
@click.pass_obj
def label(session: Session, device: str, labels: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set and remove labels."""
    found = session.project.devices.get(device).label(pairs(labels, option="label"), remove=remove)
    print_device(session, found)


@device_command.command("revoke", example="lode device revoke gate-1 --yes")
@click.argument("device")
@click.pass_obj
def revoke(session: Session, device: str) -> None:
    """End a device's certificate; it keeps serving but gets nothing new."""
    session.confirm(f"end the certificate of {device}?")
    print_device(session, session.project.devices.get(device).revoke())


@device_command.command("delete", example="lode device delete gate-1 --yes")
@click.argument("device")
@click.pass_obj
def delete(session: Session, device: str) -> None:
    """Forget a device and end its certificate."""
    session.confirm(f"delete device {device}?")
    session.project.devices.delete(device)
