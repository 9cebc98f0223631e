"""Chance: what every other strategy is measured against."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lodeworks_formats.pictures import Picture

    from lodeworks_builtin.mining.base import Look, ModelNeed

_BITS = 53


class RandomStrategy:
    """Gives each picture a lot between 0 and 1 that depends on the seed and the picture alone, not on its company."""

    name = "random"
    model: ModelNeed = "none"

    def score(self, pictures: Iterable[Picture], *, look: Look) -> Iterator[tuple[str, float]]:
        """Yields each picture's lot."""
        for picture in pictures:
            lot = hashlib.sha256(f"{look.seed}:{picture.digest}".encode()).digest()
            yield picture.digest, (int.from_bytes(lot[:8], "big") >> (64 - _BITS)) / (1 << _BITS)
