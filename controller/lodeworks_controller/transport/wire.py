"""Small conversions between messages and Python that every servicer needs."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lodeworks_controller.errors import InvalidError

PAGE_SIZE = 100
PAGE_MOST = 1_000


def to_time(moment: datetime | None) -> Timestamp | None:
    """Returns a moment as a message; None stays unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def from_time(stamp: Timestamp) -> datetime | None:
    """Returns the moment of a message; the zero of an unset one is None."""
    if not stamp.seconds and not stamp.nanos:
        return None
    return stamp.ToDatetime(tzinfo=UTC)


def to_duration(seconds: float) -> Duration:
    """Returns seconds as a message."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def from_duration(duration: Duration) -> float:
    """Returns the seconds of a message."""
    return duration.ToNanoseconds() / 1e9


def page_size(asked: int) -> int:
    """Returns how much one page of a list holds: 100 unless told, 1,000 at most."""
    if asked < 0:
        raise InvalidError("PAGE_SIZE", "a page size is 0 or more", field="page_size")
    return min(asked or PAGE_SIZE, PAGE_MOST)
