"""Runs a model over many pictures: in order, on several cores, in flat memory."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from lodeworks_formats.protocol import asset_path
from lodeworks_runtime import PictureError, decode_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from lodeworks_formats.pictures import Picture
    from numpy.typing import NDArray

T = TypeVar("T")
Tool = TypeVar("Tool")

_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What a measure found in one picture; `problem` says why there is nothing."""

    picture: Picture
    found: T | None
    problem: str | None = None


class PictureStream(Generic[Tool]):
    """Gives each picture to one of several tools (algorithms, mostly), each on its own thread."""

    def __init__(self, tools: Sequence[Tool], *, assets: Path) -> None:
        self._tools = tools
        self._assets = assets

    def look(self, pictures: Iterable[Picture], measure: Callable[[Tool, NDArray[np.uint8]], T]) -> Iterator[Seen[T]]:
        """Yields what `measure` says of each picture, in the order given.

        A picture that is missing or cannot be decoded is yielded with its problem; it does not end the stream.
        """
        free: SimpleQueue[Tool] = SimpleQueue()
        for tool in self._tools:
            free.put(tool)

        def work(picture: Picture) -> Seen[T]:
            try:
                image = decode_picture((self._assets / asset_path(picture.upright_name)).read_bytes())
            except (OSError, PictureError) as error:
                return Seen(picture, None, f"{picture.upright_name}: {error}")
            tool = free.get()
            try:
                return Seen(picture, measure(tool, image))
            finally:
                free.put(tool)

        workers = len(self._tools)
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
