"""The options that every command takes which makes a task: place, limits, retries, order, reuse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lodeworks.cli.session import NAMES, flat

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks.cli.session import Session
    from lodeworks.options import TaskOptions

_Command = TypeVar("_Command", bound="Callable[..., Any]")

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class Seconds(click.ParamType[float]):
    """A time: 90, 90s, 15m, 2h, 1d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reads a number with its unit."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time; write 90s, 15m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


SECONDS = Seconds()


def _kept(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session: Session = ctx.obj
    if param.name is not None and value not in (None, False, ()):
        session.asked[param.name] = value


def _option(*names: str, **told: Any) -> Callable[[_Command], _Command]:
    return click.option(*names, expose_value=False, callback=_kept, **told)


_OPTIONS = (
    _option("--priority", type=int, metavar="N", help="-100 to 100; larger goes first within the project."),
    _option("--gpus", type=click.IntRange(min=0), metavar="N", help="GPUs on one worker, all or nothing."),
    _option(
        "--label", "labels", multiple=True, metavar="EXPR", help="What its worker's labels must say: gpu=a100,!slow."
    ),
    _option("--only-free-gpu", is_flag=True, help="Only GPUs whose memory no other program uses."),
    _option("--retries", type=click.IntRange(min=0), metavar="N", help="Attempts after failures of the executor."),
    _option(
        "--infrastructure-retries",
        type=click.IntRange(min=0),
        metavar="N",
        help="Attempts after failures of the platform; default 2.",
    ),
    _option("--timeout", type=SECONDS, metavar="TIME", help="End a run that takes longer: 90s, 15m, 2h, 1d."),
    _option("--start-timeout", type=SECONDS, metavar="TIME", help="Give up when no worker has started it by then."),
    _option("--stall-timeout", type=SECONDS, metavar="TIME", help="End a run without output and progress for so long."),
    _option("--after", type=NAMES, multiple=True, metavar="TASK", help="Tasks that must succeed first."),
    _option("--reuse", is_flag=True, help="Take the outputs of an equal earlier task instead of running again."),
)


def task_options(command: _Command) -> _Command:
    """Adds the options to a command; it hands on what `asked(session)` answers."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked(session: Session) -> TaskOptions | None:
    """Returns what the command line asks for with its task; None when nothing."""
    from lodeworks.options import TaskOptions

    given = session.asked
    if not given:
        return None
    return TaskOptions(
        priority=given.get("priority", 0),
        gpus=given.get("gpus", 0),
        labels=",".join(given.get("labels", ())),
        only_free_gpus=given.get("only_free_gpu", False),
        retries=given.get("retries"),
        infrastructure_retries=given.get("infrastructure_retries"),
        start_timeout_s=given.get("start_timeout", 0.0),
        run_timeout_s=given.get("timeout", 0.0),
        stall_timeout_s=given.get("stall_timeout", 0.0),
        after=tuple(flat(given.get("after", ()))),
        reuse=given.get("reuse", False),
    )
