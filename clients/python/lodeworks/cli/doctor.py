"""`lode doctor`: looks for what is missing, and says what to do."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import click

from lodeworks.cli.session import LodeCommand
from lodeworks.errors import LodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lodeworks.cli.session import Session

_PACKAGES = {
    "controller": ("sqlalchemy", "duckdb", "tuf"),
    "worker": ("docker", "opencv-python-headless", "onnxruntime"),
    "detector": ("torch", "onnx"),
    "convert": ("openvino", "nncf"),
    "device": ("onnxruntime", "tuf"),
}
_FREE_BYTES = 5 * 1000**3


@click.command("doctor", cls=LodeCommand, example="lode doctor")
@click.pass_obj
def doctor_command(session: Session) -> None:
    """Look for what is missing, and say what to do."""
    findings = [*_machine(session), *_server(session)]
    if session.output.style != "table":
        session.output.document([{"what": what, "ok": ok, "say": say} for what, ok, say in findings])
    else:
        for what, ok, say in findings:
            click.echo(f"{'ok  ' if ok else 'LOOK'}  {what}: {say}")
    if not all(ok for _, ok, _ in findings):
        raise click.exceptions.Exit(1)


def _machine(session: Session) -> Iterator[tuple[str, bool, str]]:
    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    for extra, packages in _PACKAGES.items():
        missing = [name for name in packages if not _installed(name)]
        say = f"pip install 'lodeworks-platform[{extra}]' ({', '.join(missing)} missing)" if missing else "installed"
        yield f"part {extra}", not missing, say
    folder = session.surroundings.data_folder
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    yield "disk", free_bytes > _FREE_BYTES, f"{free_bytes / 1e9:.0f} GB free at {existing}"
    docker = shutil.which("docker")
    yield "docker", True, "found" if docker else "not found; executors run as processes, which needs nothing"


def _server(session: Session) -> Iterator[tuple[str, bool, str]]:
    try:
        who = session.client.users.whoami()
    except LodeError as error:
        yield "server", False, str(error)
        return
    ours = metadata.version("lodeworks")
    same = who.server.version.split(".")[0] == ours.split(".")[0]
    yield "server", same, f"{session.client.profile.server} answers {who.user.name}, version {who.server.version}"
    workers = list(session.client.workers.list())
    online = [worker for worker in workers if worker.last_seen_time.seconds and "detector" in str(worker.capabilities)]
    yield (
        "workers",
        bool(online),
        f"{len(online)} of {len(workers)} can train" if workers else "add one: lode worker add",
    )
    yield (
        "release key",
        True,
        "lies with the controller: whoever steals the controller can sign releases; see docs/how-it-is-built.md",
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
