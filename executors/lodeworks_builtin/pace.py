"""The pace of long work on many pictures: progress about once a second, with a rate and the time left."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[float, str], None]
"""Takes the share that is done, 0 to 1, and a line about it."""

T = TypeVar("T")

_TOLD_EVERY_S = 1.0


class Pace:
    """Tells the progress of a stream about once a second, with its rate and the time left.

    Args:
        total: How many there are.
        progress: Who is told.
        span: The shares between which this work lies.
        done: How many an earlier run did already.
        timer: Counts seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        progress: Progress,
        span: tuple[float, float] = (0.0, 1.0),
        done: int = 0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._progress = progress
        self._span = span
        self._done = done
        self._timer = timer
        self._begin = self._told_at = timer()

    def through(self, items: Iterable[T], *, what: str) -> Iterator[T]:
        """Yields the items and tells how many went by."""
        low, high = self._span
        for count, item in enumerate(items, start=self._done + 1):
            yield item
            now = self._timer()
            if now - self._told_at < _TOLD_EVERY_S and count < self._total:
                continue
            self._told_at = now
            elapsed_s = max(now - self._begin, 1e-6)
            rate = (count - self._done) / elapsed_s
            left_s = max(self._total - count, 0) / rate
            self._progress(
                low + (high - low) * min(count / max(self._total, 1), 1.0),
                f"{what}: {count:,} of {self._total:,} pictures, {rate:.1f} a second, {left_s:.0f} s left",
            )
