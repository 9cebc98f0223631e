"""`lode project quota` and `lode user quota`: how much a project or a person may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.output import plain, size
from lodeworks.cli.session import LodeCommand

if TYPE_CHECKING:
    from lodeworks.blocking.quota import QuotaView
    from lodeworks.cli.session import Session

_BOUNDS = {
    "running_tasks": "running tasks",
    "gpus": "GPUs",
    "queued_tasks": "waiting tasks",
    "blob_bytes": "content",
}
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Bound(click.ParamType[int]):
    """A number, or `none` for no bound; content also as 500M, 20G."""

    name = "bound"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it; -1 stands for no bound."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text == "none":
            return -1
        unit = text[-1:] if text[-1:] in _FACTORS else ""
        number = text.removesuffix(unit) if unit else text
        if not number.isdecimal():
            self.fail(f"{value!r} is no bound; write a number such as 4 or 20G, or none", param, ctx)
        return int(number) * _FACTORS[unit]


def _bounds(command: Any) -> Any:
    told = {
        "--content": ("blob_bytes", "Content that it refers to, such as 20G."),
        "--waiting": ("queued_tasks", "Tasks that wait at the same time."),
        "--gpus": ("gpus", "GPUs held at the same time."),
        "--running": ("running_tasks", "Tasks that run at the same time."),
    }
    for option, (name, text) in told.items():
        command = click.option(option, name, type=Bound(), metavar="N", help=f"{text} `none` lifts it.")(command)
    return command


@click.command("quota", cls=LodeCommand, example="lode project quota cells --weight 2 --gpus 4 --running 8")
@click.argument("name", required=False)
@click.option("--weight", type=float, metavar="W", help="Its share beside the other projects'; 1 unless set.")
@_bounds
@click.pass_obj
def project_quota(session: Session, /, name: str | None, **asked: Any) -> None:
    """Show what a project may use and uses; with options, set it (administrators)."""
    _quota(session, {"project": name or session.project.name}, asked)


@click.command("quota", cls=LodeCommand, example="lode user quota ada --gpus 2")
@click.argument("name")
@_bounds
@click.pass_obj
def user_quota(session: Session, /, name: str, **asked: Any) -> None:
    """Show what a person may use and uses; with options, set it (administrators)."""
    _quota(session, {"user": name}, asked)


def _quota(session: Session, whose: dict[str, Any], asked: dict[str, Any]) -> None:
    view = session.client.quotas.get(**whose)
    given = {key: value for key, value in asked.items() if value is not None}
    if given:
        now = plain(view.quota)
        wanted = {key: now[key] for key in ("weight", *_BOUNDS)}
        wanted.update({key: None if value == -1 else value for key, value in given.items()})
        view = session.client.quotas.set(**whose, **wanted)
    _print(session, view, weighted="project" in whose)


def _print(session: Session, view: QuotaView, *, weighted: bool) -> None:
    quota, use = plain(view.quota), plain(view.use)
    if session.output.style != "table":
        session.output.one({"quota": quota, "use": use})
        return
    rows = [("weight", f"{quota['weight']:g}")] if weighted else []
    for key, text in _BOUNDS.items():
        show = size if key == "blob_bytes" else str
        most = "no bound" if quota[key] is None else f"of {show(quota[key])}"
        if weighted or key != "blob_bytes":
            rows.append((text, f"{show(use[key])} {most}" if quota[key] is not None else f"{show(use[key])}, {most}"))
    session.output.one({"quota": quota, "use": use}, rows=rows)
