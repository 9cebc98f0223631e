"""One dataset, measured batch by batch: totals and distributions of its labels and of its predictions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lodeworks_builtin.analysis.bins import ASPECT, BOX_SIZE, FILE_SIZE, OF_PICTURES, QUALITY, RESOLUTION
from lodeworks_builtin.analysis.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of a batch: how many each picture has (-1 = was not looked at), and what they are."""

    lengths: NDArray[np.int64]
    widths: Values
    heights: Values
    names: Any


@dataclass(slots=True)
class Side:
    """Labels or predictions of a dataset, counted."""

    pictures: int = 0
    with_boxes: int = 0
    looked_at: int = 0
    boxes: int = 0
    size_bytes: int = 0
    distributions: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)
    together: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, boxes: Boxes, measures: Mapping[str, Values], *, sizes: NDArray[np.int64]) -> None:
        """Counts a batch; pictures count where they were looked at, be it that nothing was found."""
        seen = boxes.lengths >= 0
        self.pictures += len(seen)
        self.looked_at += int(seen.sum())
        self.with_boxes += int((boxes.lengths > 0).sum())
        self.boxes += len(boxes.widths)
        self.size_bytes += int(sizes[seen].sum())
        for bins in OF_PICTURES:
            self._count(bins.key, bins.count(measures[bins.key][seen]))
        self._count(BOX_SIZE.key, BOX_SIZE.count(np.sqrt(boxes.widths * boxes.heights)))
        self.classes.update({entry["values"]: entry["counts"] for entry in boxes.names.value_counts().to_pylist()})
        self._pair(boxes)

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns totals and distributions as plain data."""
        named = [*class_names, *sorted(set(self.classes) - set(class_names))]
        return {
            "totals": {
                "pictures": self.looked_at,
                "size_bytes": self.size_bytes,
                "boxes": self.boxes,
                "boxes_per_picture": self.boxes / self.looked_at if self.looked_at else 0.0,
                "with_boxes": self.with_boxes,
                "annotated_share": self.with_boxes / self.pictures if self.pictures else 0.0,
            },
            "distributions": {key: counts.tolist() for key, counts in self.distributions.items()},
            "classes": {name: self.classes[name] for name in named},
            "together": [[*pair, count] for pair, count in sorted(self.together.items())],
        }

    def _count(self, key: str, counts: NDArray[np.int64]) -> None:
        self.distributions[key] = counts + self.distributions.get(key, 0)

    def _pair(self, boxes: Boxes) -> None:
        """Counts pictures that show two classes, each pair once."""
        encoded = boxes.names.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        picture = np.repeat(np.arange(len(boxes.lengths)), np.maximum(boxes.lengths, 0))
        shows = np.zeros((len(boxes.lengths), len(names)), dtype=np.int64)
        shows[picture, encoded.indices.to_numpy(zero_copy_only=False)] = 1
        both = shows.T @ shows
        for row, column in zip(*np.nonzero(both), strict=True):
            if names[row] <= names[column]:
                self.together[names[row], names[column]] += int(both[row, column])


class Subject:
    """A dataset that is measured.

    Args:
        name: What it is called.
        predicted_by: The model behind its predictions; "" where there are none.
        qualities: Quality by digest, of the pictures that are measured.
    """

    def __init__(self, name: str, *, predicted_by: str, qualities: Mapping[bytes, float]) -> None:
        self.name = name
        self.predicted_by = predicted_by
        self._qualities = qualities
        self._sides = {"gt": Side()} | ({"pred": Side()} if predicted_by else {})
        self.suspects = Suspects()

    def add(self, batch: Any) -> None:
        """Measures a batch of pictures (PICTURES_SCHEMA)."""
        width, height, sizes = (batch.column(name).to_numpy() for name in ("width", "height", "size_bytes"))
        digests = batch.column("digest").to_pylist()
        quality = np.array([self._qualities.get(digest, np.nan) for digest in digests], dtype=np.float64)
        measures = {
            FILE_SIZE.key: sizes.astype(np.float64),
            ASPECT.key: width / np.maximum(height, 1),
            RESOLUTION.key: width.astype(np.float64) * height / 1e6,
            QUALITY.key: quality,
        }
        sides = {"gt": _boxes(batch.column("boxes"))}
        if "pred" in self._sides:
            sides["pred"] = _boxes(batch.column("predictions"))
        for side, boxes in sides.items():
            self._sides[side].add(boxes, measures, sizes=sizes)
        names = [
            (row or [digest.hex()[:12]])[0]
            for row, digest in zip(batch.column("names").to_pylist(), digests, strict=True)
        ]
        self.suspects.add(names, sides["gt"], area=measures[RESOLUTION.key] * 1e6, quality=quality)

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns all measures as plain data."""
        return {
            "name": self.name,
            "predicted_by": self.predicted_by,
            "sides": {side: counted.to_json(class_names) for side, counted in self._sides.items()},
            "suspects": self.suspects.to_json(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Returns the totals of each side as one row."""
        titles = {"gt": "labels", "pred": f"predicted by {self.predicted_by}"}
        return [
            {
                "name": self.name,
                "side": titles[side],
                "pictures": counted.looked_at,
                "with_boxes": counted.with_boxes,
                "boxes": counted.boxes,
                "boxes_per_picture": counted.boxes / counted.looked_at if counted.looked_at else 0.0,
                "megabytes": counted.size_bytes / _MEGABYTE,
            }
            for side, counted in self._sides.items()
        ]


def _boxes(column: Any) -> Boxes:
    lengths = column.value_lengths().fill_null(-1).to_numpy().astype(np.int64)
    flat = column.flatten()
    fields = dict(zip([one.name for one in flat.type], flat.flatten(), strict=True))
    return Boxes(
        lengths=lengths,
        widths=fields["w"].to_numpy(zero_copy_only=False).astype(np.float64),
        heights=fields["h"].to_numpy(zero_copy_only=False).astype(np.float64),
        names=fields["class_name"].cast(pa.string()),
    )
