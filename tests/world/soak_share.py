"""How much of what is long and random is done: LODE_SOAK_SHARE (1 = all) of it, chosen by LODE_SOAK_SEED."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

SEED = int(os.environ.get("LODE_SOAK_SEED", "1"))
SHARE = float(os.environ.get("LODE_SOAK_SHARE", "1"))


def sampled(cases: Sequence[T]) -> list[T]:
    """Returns the share of some cases, in their order, and one at least."""
    chosen = random.Random(SEED).sample(range(len(cases)), max(1, min(len(cases), round(len(cases) * SHARE))))
    return [cases[number] for number in sorted(chosen)]
