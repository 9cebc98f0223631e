"""How long to wait before the next try."""

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 1.0
"""The usual bound of the first wait."""

LONGEST_S: Final = 300.0
"""The usual bound of every wait."""


class Backoff:
    """Spreads repeated tries: full jitter under a bound that doubles.

    Args:
        uniform: Returns a random number in [0, 1), as ``random.random`` does.
        first_s: Bound of the first wait in seconds.
        longest_s: Bound that no wait exceeds, a hint of the server excepted.
    """

    def __init__(self, uniform: Callable[[], float], *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._uniform = uniform
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Returns how many waits were handed out since the last success."""
        return self._failures

    def next_s(self, hint_s: float | None = None) -> float:
        """Returns the seconds to wait now; never less than the server's hint, and not all at the hint either."""
        # 2 ** 64 would overflow nothing, but a float of a huge int does.
        bound_s = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return (hint_s or 0.0) + self._uniform() * bound_s

    def reset(self) -> None:
        """Forgets the failures; called after a success."""
        self._failures = 0
