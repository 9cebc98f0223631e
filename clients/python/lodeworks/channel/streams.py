"""How many ranges of one blob travel at a time."""

from dataclasses import dataclass
from typing import Final

STREAMS: Final = 4
"""Ranges that are read at a time, unless somebody chose another number."""

MOST_STREAMS: Final = 32
"""The most that one may choose."""


@dataclass(frozen=True, slots=True)
class Streams:
    """How one blob is read.

    Attributes:
        number: Ranges that are read at a time; 1 to 32.
        range_bytes: Length of a range; a blob up to here is read as one.
    """

    number: int = STREAMS
    range_bytes: int = 8 << 20
