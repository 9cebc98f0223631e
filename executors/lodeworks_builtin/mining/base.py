"""The interface of mining strategies."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from lodeworks_executor.errors import BadModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

    from lodeworks_builtin.picture_stream import PictureStream

T = TypeVar("T")

ModelNeed = Literal["none", "optional", "required"]


@dataclass(frozen=True, slots=True)
class Look:
    """What a strategy works with.

    Attributes:
        seed: Of everything that is drawn.
        stream: The pictures, with the model where one was given; None for strategies that look at none.
        score_threshold: The least score that makes a box count; None leaves it to the strategy.
        budget: How many pictures are wanted; None for all.
        class_ap: How well the model knows each class, 0 to 1, where that was measured.
    """

    seed: int
    stream: PictureStream[Algorithm | None] | None = None
    score_threshold: float | None = None
    budget: int | None = None
    class_ap: Mapping[str, float] = field(default_factory=dict)

    def each(
        self, pictures: Iterable[Picture], measure: Callable[[Algorithm | None, NDArray[np.uint8]], T]
    ) -> Iterator[tuple[str, T]]:
        """Yields (digest, what was measured) of each picture; those that cannot be read are left out and told."""
        if self.stream is None:
            raise ValueError("the strategy needs to see the pictures")
        for seen in self.stream.look(pictures, measure):
            if seen.problem is not None or seen.found is None:
                print(f"left out: {seen.problem}", file=sys.stderr)  # noqa: T201 - the log of a run
            else:
                yield seen.picture.digest, seen.found


class Strategy(Protocol):
    """Says how much each picture is worth annotating."""

    name: str
    model: ModelNeed

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields (digest, score) for each picture that can be judged, the higher the more worth annotating."""
        ...


class MeasuredStrategy:
    """A strategy that judges each picture by itself: by a number that the model's answer for it gives."""

    model: ModelNeed = "required"
    threshold = 0.1

    def __init__(self, name: str, measure: Callable[[Algorithm, NDArray[np.uint8], float], float]) -> None:
        self.name = name
        self._measure = measure

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields each picture's number; pictures that cannot be read are left out and told."""
        threshold = self.threshold if look.score_threshold is None else look.score_threshold

        def measure(algorithm: Algorithm | None, image: NDArray[np.uint8]) -> float:
            return self._measure(required(algorithm, strategy=self.name), image, threshold)

        yield from look.each(pictures, measure)


def required(algorithm: Algorithm | None, *, strategy: str) -> Algorithm:
    """Returns the model, or raises BadModelError where there is none."""
    if algorithm is None:
        raise BadModelError(f"strategy {strategy} needs a model")
    return algorithm
