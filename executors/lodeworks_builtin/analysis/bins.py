"""The bins of every distribution: the same for all datasets, so that they can be laid side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bins:
    """A measure and where its bins part: n edges make n + 1 bins, each from its lower edge up to the next.

    Attributes:
        key: Name in the JSON.
        title: For people.
        about: What is measured, in which unit.
        edges: Rising.
        labels: One for each bin.
    """

    key: str
    title: str
    about: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def count(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns how many values lie in each bin; what is no number lies in none."""
        known = values[np.isfinite(values)]
        return np.bincount(np.searchsorted(self.edges, known, side="right"), minlength=len(self.labels))


_KB: Final = 1000
_TENTHS: Final = tuple(round(0.1 * step, 1) for step in range(1, 10))

FILE_SIZE: Final = Bins(
    "file_size",
    "File size",
    "bytes of the picture's file",
    tuple(kilobytes * _KB for kilobytes in (10, 25, 50, 100, 200, 500, 1000, 2000, 5000)),
    (
        "< 10 kB",
        "10–25 kB",
        "25–50 kB",
        "50–100 kB",
        "100–200 kB",
        "200–500 kB",
        "0.5–1 MB",
        "1–2 MB",
        "2–5 MB",
        "≥ 5 MB",
    ),
)
ASPECT: Final = Bins(
    "aspect_ratio",
    "Aspect ratio",
    "width by height, upright",
    (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    ("< 0.5", "0.5–0.75", "0.75–1", "1–1.25", "1.25–1.5", "1.5–1.75", "1.75–2", "≥ 2"),
)
RESOLUTION: Final = Bins(
    "resolution",
    "Resolution",
    "millions of pixels",
    (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    ("< 0.1", "0.1–0.25", "0.25–0.5", "0.5–1", "1–2", "2–4", "4–8", "≥ 8"),
)
QUALITY: Final = Bins(
    "quality",
    "Picture quality",
    "0 to 1: sharp, well exposed and rich in contrast; computed from the pixels",
    _TENTHS,
    tuple(f"{low:g}–{low + 0.1:.1g}" if low < 0.9 else "0.9–1" for low in (0.0, *_TENTHS)),  # noqa: PLR2004
)
BOX_SIZE: Final = Bins(
    "box_size",
    "Box size",
    "the side of a square of the box's area, in pixels",
    (16.0, 32.0, 64.0, 96.0, 128.0, 256.0, 512.0),
    ("< 16", "16–32", "32–64", "64–96", "96–128", "128–256", "256–512", "≥ 512"),
)

OF_PICTURES: Final = (FILE_SIZE, ASPECT, RESOLUTION, QUALITY)
"""Distributions of pictures; box size and classes are those of boxes."""
