"""Time as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Returns whole microseconds since 1970 in UTC; exact, unlike float timestamps."""
    return (moment - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Returns the moment of whole microseconds since 1970, aware, in UTC."""
    return EPOCH + micros * _MICROSECOND
