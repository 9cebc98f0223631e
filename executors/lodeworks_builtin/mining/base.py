"""The interface of mining strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lodeworks_formats.pictures import Picture

    from lodeworks_builtin.picture_stream import PictureStream


@dataclass(frozen=True, slots=True)
class Look:
    """What a strategy works with: the seed, and for those that need a model, the model over the pictures.

    `score_threshold` is the least score that makes a box count; None leaves it to the strategy.
    """

    seed: int
    stream: PictureStream | None = None
    score_threshold: float | None = None


class Strategy(Protocol):
    """Says how much each picture is worth annotating."""

    name: str
    needs_model: bool

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields (digest, score) for each picture that can be judged, the higher the more worth annotating."""
        ...
