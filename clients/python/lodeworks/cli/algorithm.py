"""`lode algorithm`: what devices run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.deployment import follow_deployment
from lodeworks.cli.output import plain
from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.blocking.algorithm import Release
    from lodeworks.cli.session import Session


_FIRST_WORDS_S = 20.0
_LOOK_S = 5.0


@click.group("algorithm", cls=Noun)
def algorithm_command() -> None:
    """What devices run."""


_PACKAGES: dict[str, Any] = {
    "variant": "variant",
    "mAP50": "ap50",
    "mAP50:95": "ap",
    "drop": "drop",
    "latency ms": "latency_ms",
    "speed-up": "speed_up",
    "size": lambda data: f"{data['size_bytes'] / 1e6:.1f} MB",
}


def print_release(session: Session, release: Release, *, next_command: str = "") -> None:
    """Prints a release with its packages and the next command."""
    if session.output.style != "table":
        session.output.one(release.data)
        return
    data = plain(release.data)
    click.echo(f"{data['name']} ({data['state']}) of {data['model_name']}; classes {', '.join(data['class_names'])}")
    session.output.many(release.data.packages, columns=_PACKAGES)
    if next_command:
        session.output.hint(f"next: {next_command}")


@algorithm_command.command("ls", example="lode algorithm ls")
@click.pass_obj
def ls(session: Session) -> None:
    """List the algorithms."""
    columns: dict[str, Any] = {
        "algorithm": "name",
        "newest": lambda data: (data["latest"] or {}).get("name"),
        "releases": "release_count",
    }
    session.output.many(session.project.algorithms.list(), columns=columns)


@algorithm_command.command("show", example="lode algorithm show cells@1")
@click.argument("algorithm")
@click.pass_obj
def show(session: Session, algorithm: str) -> None:
    """Show a release with its measurements."""
    print_release(session, session.project.algorithms.get(algorithm))


@algorithm_command.command("history", example="lode algorithm history cells")
@click.argument("name")
@click.pass_obj
def history(session: Session, name: str) -> None:
    """List all releases and candidates."""
    columns: dict[str, Any] = {
        "release": "name",
        "state": "state",
        "model": "model_name",
        "packages": lambda data: [package["variant"] for package in data["packages"]],
        "when": "create_time",
    }
    session.output.many((entry.data for entry in session.project.algorithms.history(name)), columns=columns)


@algorithm_command.command("sign", example="lode algorithm sign cells@1")
@click.argument("release")
@click.pass_obj
def sign(session: Session, release: str) -> None:
    """Turn a candidate into a release."""
    print_release(session, session.project.algorithms.get(release).sign())


@algorithm_command.command("add", example="lode algorithm add cells cells-1-onnx-fp32.tar")
@click.argument("name")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_obj
def add(session: Session, name: str, packages: tuple[Path, ...]) -> None:
    """Register packages that were built elsewhere as a signed release."""
    print_release(session, session.project.algorithms.add(name, packages))


@algorithm_command.command("deploy", example="lode algorithm deploy cells gate-1")
@click.argument("algorithm")
@click.argument("devices", nargs=-1, required=True)
@click.option("--variant", default="", help="Package; default: the fastest measured one that fits.")
@click.option("--conf", type=click.FloatRange(0, 1), default=None, help="Boxes below are not answered.")
@click.option("--force", is_flag=True, help="Send also what seems not to fit.")
@click.option("--detach", is_flag=True, help="Do not wait for the devices.")
@click.pass_obj
def deploy(
    session: Session,
    algorithm: str,
    devices: tuple[str, ...],
    variant: str,
    conf: float | None,
    force: bool,
    detach: bool,
) -> None:
    """Bring a release onto devices and wait until they have proved it."""
    if not (force or detach):
        _await_first_words(session, devices)
    deployment = session.project.devices.deploy(algorithm, devices, variant=variant, confidence=conf, force=force)
    follow_deployment(session, deployment, detach=detach)


def _await_first_words(session: Session, names: tuple[str, ...]) -> None:
    """Waits a little for devices that were started a moment ago; one that stays silent is the server's to refuse."""
    from lodeworks.api.device.v1.device_pb2 import DEVICE_STATE_PENDING

    deadline_s = time.monotonic() + _FIRST_WORDS_S
    for name in names:
        device = session.project.devices.get(name)
        if device.data.state == DEVICE_STATE_PENDING or device.data.capabilities_json:
            continue
        session.output.hint(f"{name}: waiting for its first report")
        while not device.data.capabilities_json and (left_s := deadline_s - time.monotonic()) > 0:
            device.refresh(wait_s=min(left_s, _LOOK_S))


@algorithm_command.command("download", example="lode algorithm download cells@1 out/")
@click.argument("algorithm")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--variant", default="", help="Only this package.")
@click.pass_obj
def download(session: Session, algorithm: str, out: Path, variant: str) -> None:
    """Fetch the packed packages."""
    paths = session.project.algorithms.get(algorithm).download(out, variant=variant)
    rows = ({"path": str(path), "size_bytes": path.stat().st_size} for path in paths)
    session.output.many(rows, columns={"path": "path", "size": "size_bytes"})


@algorithm_command.command("report", example="lode algorithm report cells@1 report.html")
@click.argument("algorithm")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--card", is_flag=True, help="The model card, in Markdown, instead.")
@click.pass_obj
def report(session: Session, algorithm: str, out: Path, card: bool) -> None:
    """Write the measurements, or the model card, into a file."""
    release = session.project.algorithms.get(algorithm)
    out.write_text(release.card() if card else release.report_html(), encoding="utf-8")
    session.output.one({"path": str(out)})


@algorithm_command.command("delete", example="lode algorithm delete cells@1 --yes")
@click.argument("release")
@click.pass_obj
def delete(session: Session, release: str) -> None:
    """Delete a release that no device wants."""
    session.confirm(f"delete {release}?")
    session.project.algorithms.delete(release)
