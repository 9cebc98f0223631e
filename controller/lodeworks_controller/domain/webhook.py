"""Webhooks: who hears of what, and how a delivery is tried, tried again and given up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from urllib.parse import urlsplit

from lodeworks_controller.domain.identity import check_name
from lodeworks_controller.errors import InvalidError

MOST_TRIES = 12
TEST_TOPIC = "webhook.test"

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3_600.0
_LONGEST_URL = 2_000
_TOPIC = re.compile(r"(?:[a-z_]+\.)*(?:[a-z_]+|\*)")


class DeliveryState(Enum):
    """Where a delivery is in its life."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that hears of events.

    Attributes:
        id: Identifies it for ever; its secret follows from it.
        project_id: Whose events it hears; empty = those of the whole installation.
        name: Unique in its project.
        url: Where requests go.
        topics: What it hears, ``task.*`` = all that begin so; empty = everything.
        created_by: Id of the user who made it.
        created_at: When.
    """

    id: str
    project_id: str
    name: str
    url: str
    topics: tuple[str, ...]
    created_by: str
    created_at: datetime

    def hears(self, topic: str, *, project_id: str) -> bool:
        """Says whether an event is for it."""
        if self.project_id not in {"", project_id}:
            return False
        return not self.topics or any(_covers(pattern, topic) for pattern in self.topics)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.

    Attributes:
        id: Told to the receiver, who drops repeats by it.
        webhook_id: Where it goes.
        topic: What happened.
        subject: What it happened to; the deliveries of one subject keep their order.
        body: The JSON document that is sent.
        state: Where it is.
        attempts: Tries since it was last begun.
        created_at: When the event happened.
        not_before: When it may be tried next.
        ended_at: When it was received or given up.
    """

    id: str
    webhook_id: str
    topic: str
    subject: str
    body: str
    created_at: datetime
    not_before: datetime
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    ended_at: datetime | None = None

    def after(self, attempt: "Try", *, at: datetime, chance: float) -> "Delivery":
        """Returns it after one more try: received, waiting for the next one, or given up.

        Args:
            attempt: How the try went.
            at: The moment of its end.
            chance: Between 0 and 1: many that failed together shall not come back together.
        """
        tried = replace(self, attempts=self.attempts + 1)
        if attempt.received:
            return replace(tried, state=DeliveryState.DELIVERED, ended_at=at)
        if tried.attempts >= MOST_TRIES:
            return replace(tried, state=DeliveryState.DEAD, ended_at=at)
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (tried.attempts - 1)) * (0.75 + chance / 2)
        return replace(tried, not_before=at + timedelta(seconds=pause_s))

    def begun_again(self, *, at: datetime) -> "Delivery":
        """Returns it as it was before its first try."""
        return replace(self, state=DeliveryState.WAITING, attempts=0, not_before=at, ended_at=None)


@dataclass(frozen=True, slots=True)
class Try:
    """How one try of a delivery went.

    Attributes:
        at: When it began.
        status: The HTTP status; 0 = none came back.
        error: What was wrong; empty when it was received.
        duration_ms: How long it took.
    """

    at: datetime
    status: int
    error: str
    duration_ms: int

    @property
    def received(self) -> bool:
        """Says whether the receiver took it."""
        return not self.error


def new_webhook(
    webhook_id: str, *, project_id: str, name: str, url: str, topics: Sequence[str], created_by: str, at: datetime
) -> Webhook:
    """Returns a webhook, or raises InvalidError for what cannot be one."""
    check_name(name)
    parts = urlsplit(url) if len(url) <= _LONGEST_URL else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidError("WEBHOOK_URL", "a webhook has an address that begins with https:// or http://", field="url")
    if parts.username is not None or parts.fragment:
        raise InvalidError(
            "WEBHOOK_URL",
            "the address of a webhook carries no user, no password and no fragment; receivers check the signature",
            field="url",
        )
    for topic in topics:
        if _TOPIC.fullmatch(topic) is None:
            raise InvalidError(
                "WEBHOOK_TOPIC", f"{topic!r} is no topic; name one such as task.failed, or task.*", field="topics"
            )
    return Webhook(webhook_id, project_id, name, url, tuple(sorted(set(topics))), created_by, at)


def _covers(pattern: str, topic: str) -> bool:
    return topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern
