"""How `lode` shows what a device shall run and what it runs, and follows it from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lodeworks.cli.output import plain

if TYPE_CHECKING:
    from lodeworks.blocking.device import Deployment, Device
    from lodeworks.cli.session import Session


def print_device(session: Session, device: Device) -> None:
    """Prints desired and reported state side by side."""
    if session.output.style != "table":
        session.output.one(device.data)
        return
    data = device.data
    behind = "" if data.observed_generation >= data.generation else f" (seen {data.observed_generation})"
    answers = f", answers at {data.http_address}" if data.http_address else ""
    state = plain(data)["state"]
    click.echo(f"{data.name}: {state}, generation {data.generation}{behind}{answers}")
    names = dict.fromkeys([entry.name for entry in data.desired] + [entry.name for entry in data.reported])
    rows = []
    for name in names:
        wish = next((entry for entry in data.desired if entry.name == name), None)
        said = device.reported(name)
        rows.append(
            {
                "algorithm": name,
                "desired": f"{wish.release_name} {wish.variant} {wish.state}" if wish else "absent",
                "reported": f"{said.active_release or '-'} {said.phase}",
                "reason": said.message or said.reason,
            }
        )
    session.output.many(rows, columns={key: key for key in ("algorithm", "desired", "reported", "reason")})


def follow_deployment(session: Session, deployment: Deployment, *, detach: bool) -> None:
    """Shows the phases that the devices go through, then the devices."""
    if not detach:
        last: dict[str, str] = {}
        try:
            for device in deployment.watch():
                phase = device.reported(deployment.algorithm).phase
                if last.get(device.id) != phase:
                    last[device.id] = phase
                    session.output.hint(f"{device.name}: {phase}")
        except KeyboardInterrupt:
            session.output.hint("\ndetached; the deployment goes on: `lode device ls`")
            return
        deployment.result()
    for device in deployment.devices:
        print_device(session, device)
