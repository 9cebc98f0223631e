"""Messages: what happened, in words, to the person whom it concerns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened and concerns one person.

    Attributes:
        id: Identifies it for ever.
        user_id: Whom it concerns.
        topic: What happened.
        text: In words, with the next step where there is one.
        project_id: Empty for what concerns the installation.
        subject: Id of what it happened to.
        created_at: When it happened.
        read_at: When it was read.
    """

    id: str
    user_id: str
    topic: str
    text: str
    project_id: str
    subject: str
    created_at: datetime
    read_at: datetime | None = None


def words_for(topic: str, payload: Mapping[str, Any]) -> str:
    """Returns what a person reads of an event; empty for events that are for programs only."""
    write = _WORDS.get(topic)
    return "" if write is None else write(payload)


def _task(verb: str) -> Any:
    def write(payload: Mapping[str, Any]) -> str:
        text = f"{payload.get('kind', 'task')} {verb}: {payload.get('title', '')}".rstrip(": ")
        if payload.get("reason"):
            why = f" ({payload['reason']}: {payload.get('message', '')}".rstrip(": ") + ")"
            return f"{text}{why}; see `lode task show {payload.get('task_id', '')}`"
        return text

    return write


_WORDS = {
    "task.succeeded": _task("succeeded"),
    "task.failed": _task("failed"),
    "task.cancelled": _task("was cancelled"),
    "worker.lost": lambda it: f"worker {it.get('name')} is silent since {it.get('since')}; see `lode worker ls`",
    "worker.back": lambda it: f"worker {it.get('name')} is back",
    "schedule.refused": lambda it: f"schedule {it.get('name')} could not make its task: {it.get('message')}",
    "webhook.dead": lambda it: (
        f"webhook {it.get('name')} did not take {it.get('topic')} in {it.get('tries')} tries ({it.get('error')}); "
        f"see `lode webhook deliveries {it.get('name')}`"
    ),
    "device.refused": lambda it: f"device {it.get('name')} refused {it.get('algorithm')}: {it.get('message')}",
}
