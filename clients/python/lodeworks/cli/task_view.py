"""One task for people: where it is, why it died, and what to do."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.output import plain
from lodeworks.cli.watching import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lodeworks.api.task.v1.task_pb2 import Task
    from lodeworks.cli.session import Session

_LINES = 12
_LIMITS = {"start_timeout": "to start within", "run_timeout": "to end within", "stall_timeout": "to stall at most"}


def print_task(session: Session, task: Task, *, attempts: bool = False) -> None:
    """Prints a task; with its attempts, where it has several or one that failed."""
    data = plain(task)
    if session.output.style != "table":
        session.output.one(task)
        return
    rows = [
        ("task", data["id"]),
        ("what", data["title"]),
        ("state", _state(data)),
        ("why", _why(data)),
        ("next", data["next_step"]),
        ("asked", _asked(data)),
        ("after", ", ".join(data["depends_on"])),
        ("worker", data["worker_name"]),
        ("attempts", _budget(data)),
        ("checkpoint", _moment(data["checkpoint_time"])),
        ("equals", _equal(data)),
        ("result", (data["result"] or {}).get("name") or (data["result"] or {}).get("id")),
        ("made", f"{_moment(data['create_time'])} by {data['create_user'] or 'the controller'}"),
        ("ran", "" if data["reused"] else _ran(data["start_time"], data["end_time"])),
    ]
    session.output.one(task, rows=[(key, value) for key, value in rows if value not in ("", None)])
    if attempts and data["attempts"] and (len(data["attempts"]) > 1 or data["reason"] != "unspecified"):
        click.echo()
        session.output.many(list(task.attempts), columns=_COLUMNS)
    tail = data["log_tail"][-_LINES:]
    if tail:
        click.echo("\nlast lines:")
        for line in tail:
            click.echo(f"  | {line}")


def _state(data: Mapping[str, Any]) -> str:
    told = str(data["state"])
    if data["reused"]:
        told += " (reused, it did not run)"
    if data["progress"] >= 0 and told in {"running", "suspect", "cancelling"}:
        told += f" {data['progress']:.0%}"
    return f"{told}: {data['message']}" if data["message"] and not data["error"] else told


def _why(data: Mapping[str, Any]) -> str:
    if not data["error"]:
        return ""
    how = []
    if data["exit_code"]:
        how.append(f"exit code {data['exit_code']}")
    if data["signal"]:
        how.append(f"signal {data['signal']} {_signal_name(data['signal'])}".rstrip())
    if data["reason"] == "oom":
        how.append("out of memory")
    told = f"{str(data['reason']).upper()}: {data['error']}"
    return f"{told} ({', '.join(how)})" if how and not all(one in told for one in how) else told


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _asked(data: Mapping[str, Any]) -> str:
    options = data["options"] or {}
    told = [f"priority {options['priority']}"] if options.get("priority") else []
    if options.get("gpus"):
        told.append(
            f"{options['gpus']} GPU{'s' if options['gpus'] > 1 else ''}"
            + (" that nobody else uses" if options["only_free_gpus"] else "")
        )
    if options.get("labels"):
        told.append(f"labels {options['labels']}")
    told.extend(f"{text} {clock(options[name])}" for name, text in _LIMITS.items() if options.get(name))
    return ", ".join(told)


def _budget(data: Mapping[str, Any]) -> str:
    if not data["attempt"]:
        return ""
    left = f"{data['retries_left']} after its own failures, {data['infrastructure_retries_left']} after the platform's"
    over = data["state"] in {"succeeded", "failed", "cancelled"}
    waits = f"; the next not before {_moment(data['not_before_time'])}" if data["not_before_time"] else ""
    return str(data["attempt"]) if over else f"{data['attempt']} (left: {left}){waits}"


def _equal(data: Mapping[str, Any]) -> str:
    if not data["equal_task_id"]:
        return ""
    same = f"task {data['equal_task_id']}: same inputs, settings and executor"
    return same if data["reused"] else f"{same}; --reuse would have taken its outputs"


def _ran(start: str | None, end: str | None) -> str:
    if start is None:
        return ""
    return f"{_moment(start)} for {_took(start, end)}" if end else f"since {_moment(start)}"


def _moment(text: str | None) -> str:
    """Writes a time to the second, as this machine's clock shows it."""
    return "" if text is None else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _took(start: str | None, end: str | None) -> str:
    if start is None or end is None:
        return ""
    return clock((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _how(data: Mapping[str, Any]) -> str:
    reason = "" if data["reason"] == "unspecified" else str(data["reason"])
    outcome = "runs" if data["outcome"] == "unspecified" else str(data["outcome"])
    return f"{outcome} ({reason})" if reason and reason != outcome else outcome


def _exit(data: Mapping[str, Any]) -> str:
    if data["signal"]:
        return f"signal {data['signal']} {_signal_name(data['signal'])}".rstrip()
    return str(data["exit_code"]) if data["end_time"] else ""


_COLUMNS: dict[str, Any] = {
    "attempt": "number",
    "worker": "worker_name",
    "ended": _how,
    "exit": _exit,
    "took": lambda data: _took(data["start_time"], data["end_time"]),
    "why": "message",
}
