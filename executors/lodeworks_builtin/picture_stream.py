"""Runs a model over many pictures: in order, on several cores, in flat memory, with a rate and a time left."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from lodeworks_formats.protocol import asset_path
from lodeworks_runtime import Algorithm, PictureError, decode_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from lodeworks_formats.pictures import Picture
    from numpy.typing import NDArray

T = TypeVar("T")

_AHEAD = 4
_TOLD_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What a measure found in one picture; `problem` says why there is nothing."""

    picture: Picture
    found: T | None
    problem: str | None = None


class PictureStream:
    """Gives each picture to one of several algorithms, each on its own thread."""

    def __init__(self, algorithms: Sequence[Algorithm], *, assets: Path) -> None:
        self._algorithms = algorithms
        self._assets = assets

    def look(
        self, pictures: Iterable[Picture], measure: Callable[[Algorithm, NDArray[np.uint8]], T]
    ) -> Iterator[Seen[T]]:
        """Yields what `measure` says of each picture, in the order given.

        A picture that is missing or cannot be decoded is yielded with its problem; it does not end the stream.
        """
        free: SimpleQueue[Algorithm] = SimpleQueue()
        for algorithm in self._algorithms:
            free.put(algorithm)

        def work(picture: Picture) -> Seen[T]:
            try:
                image = decode_picture((self._assets / asset_path(picture.upright_name)).read_bytes())
            except (OSError, PictureError) as error:
                return Seen(picture, None, f"{picture.upright_name}: {error}")
            algorithm = free.get()
            try:
                return Seen(picture, measure(algorithm, image))
            finally:
                free.put(algorithm)

        workers = len(self._algorithms)
        waiting: deque[Future[Seen[T]]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(work, picture))
                    if len(waiting) > workers * _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


class Pace:
    """Tells the progress of a stream about once a second, with its rate and the time left."""

    def __init__(
        self,
        total: int,
        *,
        progress: Callable[[float, str], None],
        span: tuple[float, float] = (0.0, 1.0),
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._progress = progress
        self._span = span
        self._timer = timer
        self._begin = self._told_at = timer()

    def through(self, items: Iterable[T], *, what: str) -> Iterator[T]:
        """Yields the items and tells how many went by."""
        low, high = self._span
        for count, item in enumerate(items, start=1):
            yield item
            now = self._timer()
            if now - self._told_at < _TOLD_EVERY_S and count < self._total:
                continue
            self._told_at = now
            elapsed_s = max(now - self._begin, 1e-6)
            rate = count / elapsed_s
            left_s = max(self._total - count, 0) / rate
            self._progress(
                low + (high - low) * min(count / max(self._total, 1), 1.0),
                f"{what}: {count:,} of {self._total:,} pictures, {rate:.1f} a second, {left_s:.0f} s left",
            )
