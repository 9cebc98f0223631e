"""Which pictures calibrate a quantization, and how they reach the converter."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray


def choose_pictures(digests: Iterable[str], *, count: int, seed: int) -> tuple[str, ...]:
    """Returns `count` of the digests (all, where there are fewer), the same for the same pictures in any order.

    Each picture draws its own lot, so that a few more pictures in the dataset change few of the chosen ones.
    """
    lots = sorted((hashlib.sha256(f"{seed}:{digest}".encode()).digest(), digest) for digest in set(digests))
    return tuple(sorted(digest for _, digest in lots[:count]))


class Calibration:
    """Network inputs that can be gone through again and again without being kept in memory."""

    def __init__(self, loaders: Sequence[Callable[[], NDArray[np.float32]]]) -> None:
        self._loaders = loaders

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for load in self._loaders:
            yield load()

    def __len__(self) -> int:
        return len(self._loaders)
