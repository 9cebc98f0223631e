"""Work on many small things on all cores: results in order, a bounded number of them ahead."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
Result = TypeVar("Result")

_CHUNK = 32
_AHEAD = 8


def ahead(things: Iterable[T], work: Callable[[T], Result], *, name: str) -> Iterator[Result]:
    """Yields what the work answers for each thing, in the order given, while threads go on with the next ones."""

    def all_of(some: list[T]) -> list[Result]:
        return [work(one) for one in some]

    workers = os.cpu_count() or 1
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        try:
            for some in batches(things, _CHUNK):
                waiting.append(pool.submit(all_of, some))
                if len(waiting) > workers * _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of at most so many things."""
    source = iter(things)
    while some := list(islice(source, size)):
        yield some
