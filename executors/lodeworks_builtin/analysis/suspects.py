"""What is worth a second look: labels and pictures that stand out, some of each kind by name."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lodeworks_builtin.analysis.subject import Boxes

TINY_PX: Final = 8
CROWD: Final = 60
POOR: Final = 0.35
_WHOLE: Final = 0.9
_LONG: Final = 10.0
_SHOWN: Final = 8

KINDS: Final = {
    "tiny": f"a box with a side under {TINY_PX} pixels",
    "whole": "a box over more than nine tenths of the picture",
    "long": "a box more than ten times as long as wide",
    "crowded": f"a picture with more than {CROWD} boxes",
    "poor": f"a picture quality under {POOR:g}",
    "alike": "pictures that look the same (3 bits apart or fewer)",
}


class Suspects:
    """Counts what stands out, and keeps the names of some."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(KINDS, 0)
        self._shown: dict[str, list[tuple[float, str]]] = {kind: [] for kind in KINDS}

    def add(
        self, names: Sequence[str], boxes: Boxes, *, area: NDArray[np.float64], quality: NDArray[np.float64]
    ) -> None:
        """Looks through a batch."""
        picture = np.repeat(np.arange(len(names)), np.maximum(boxes.lengths, 0))
        short, long = np.minimum(boxes.widths, boxes.heights), np.maximum(boxes.widths, boxes.heights)
        share = boxes.widths * boxes.heights / np.maximum(area[picture], 1.0)
        self._note("tiny", names, picture, short < TINY_PX, weight=-short)
        self._note("whole", names, picture, share > _WHOLE, weight=share)
        self._note(
            "long", names, picture, long > _LONG * np.maximum(short, 1e-6), weight=long / np.maximum(short, 1e-6)
        )
        everyone = np.arange(len(names))
        self._note("crowded", names, everyone, boxes.lengths > CROWD, weight=boxes.lengths.astype(np.float64))
        self._note("poor", names, everyone, quality < POOR, weight=-quality)

    def add_alike(self, pairs: Sequence[tuple[str, str]], *, count: int) -> None:
        """Notes pictures that look the same."""
        self._counts["alike"] = count
        self._shown["alike"] = [(0.0, f"{left} = {right}") for left, right in pairs[:_SHOWN]]

    def to_json(self) -> dict[str, Any]:
        """Returns counts and names as plain data."""
        return {
            kind: {
                "about": about,
                "count": self._counts[kind],
                "shown": [name for _, name in sorted(self._shown[kind], reverse=True)],
                "values": [abs(weight) for weight, _ in sorted(self._shown[kind], reverse=True)],
            }
            for kind, about in KINDS.items()
        }

    def _note(
        self,
        kind: str,
        names: Sequence[str],
        picture: NDArray[np.int64],
        found: NDArray[np.bool_],
        *,
        weight: NDArray[np.float64],
    ) -> None:
        places = np.flatnonzero(found)
        self._counts[kind] += len(places)
        best = places[np.argsort(-weight[places], kind="stable")[: 4 * _SHOWN]]
        kept = {name: value for value, name in reversed(self._shown[kind])}
        for place in best.tolist():
            kept.setdefault(names[picture[place]], float(weight[place]))
        self._shown[kind] = heapq.nlargest(_SHOWN, ((value, name) for name, value in kept.items()))
