"""Lines of the log: as text for people, as JSON for programs; each says for which request it was written."""

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final


@dataclass(slots=True)
class Cause:
    """For what a line is written.

    Attributes:
        request_id: The caller's ``x-request-id``, or one of ours.
        method: The rpc.
        principal: Who asks: ``user:<id>``, ``worker:<id>``.
        task_id: The task that it is about.
    """

    request_id: str
    method: str = ""
    principal: str = ""
    task_id: str = ""


CAUSE: Final[ContextVar[Cause | None]] = ContextVar("cause", default=None)
"""What the code that runs now runs for."""

_OWN: Final = ("request_id", "method", "principal", "task_id")


class TextLines(logging.Formatter):
    """One line of text per record, with the request at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Returns the line."""
        line = super().formatMessage(record)
        told = " ".join(f"{name}={value}" for name, value in _told().items())
        return f"{line} [{told}]" if told else line


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and for which request; a traceback as `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_told(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def start_log(*, level: int, style: str) -> None:
    """Sends the log to stderr in a style: ``text`` or ``json``."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler])


def _told() -> dict[str, str]:
    cause = CAUSE.get()
    if cause is None:
        return {}
    return {name: value for name in _OWN if (value := getattr(cause, name))}
