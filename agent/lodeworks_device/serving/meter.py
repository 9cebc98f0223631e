"""Counts requests and their times, for metrics and for the reported state."""

import statistics
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEMBERED = 512
_WINDOW_S = 60.0
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Meter:
    """The requests to one algorithm. `timer` returns monotonic seconds."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._recent: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._buckets = [0] * len(_BUCKETS_S)
        self._seconds = 0.0
        self.requests = 0
        self.failures = 0
        self.in_flight = 0

    @contextmanager
    def measuring(self) -> "Iterator[None]":
        """Measures one request; an exception counts as a failure."""
        begin = self._timer()
        self.in_flight += 1
        try:
            yield
        except BaseException:
            self.failures += 1
            raise
        finally:
            self.in_flight -= 1
            self._count(self._timer(), self._timer() - begin)

    def fail(self) -> None:
        """Counts a request that was answered with a refusal."""
        self.failures += 1

    @property
    def rate(self) -> float:
        """Requests per second over the last minute."""
        now = self._timer()
        recent = [at for at, _ in self._recent if now - at < _WINDOW_S]
        if not recent:
            return 0.0
        # A full memory reaches back less than the window.
        span = now - recent[0] if len(self._recent) == _REMEMBERED else _WINDOW_S
        return len(recent) / max(span, 1.0)

    @property
    def latency_ms(self) -> float:
        """Median of the last requests; 0 before the first one."""
        return statistics.median(seconds for _, seconds in self._recent) * 1000 if self._recent else 0.0

    def lines(self, name: str, labels: str) -> list[str]:
        """Returns the lines of a Prometheus histogram and of two counters."""
        total = 0
        lines = []
        for bound, count in zip(_BUCKETS_S, self._buckets, strict=True):
            total += count
            lines.append(f'{name}_seconds_bucket{{{labels},le="{bound:g}"}} {total}')
        lines.append(f'{name}_seconds_bucket{{{labels},le="+Inf"}} {self.requests}')
        lines.append(f"{name}_seconds_sum{{{labels}}} {self._seconds:.6f}")
        lines.append(f"{name}_seconds_count{{{labels}}} {self.requests}")
        lines.append(f"{name}_failures_total{{{labels}}} {self.failures}")
        return lines

    def _count(self, at: float, seconds: float) -> None:
        self.requests += 1
        self._seconds += seconds
        self._recent.append((at, seconds))
        for place, bound in enumerate(_BUCKETS_S):
            if seconds <= bound:
                self._buckets[place] += 1
                break
