"""Boxes of an evaluation as columns: what every measure here is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BoxColumns:
    """Boxes of many pictures, one row per box, sorted by picture and class.

    Shapes: `picture` and `class_index` [n] are positions in the lists of their owner, `xywh` [n, 4] is in pixels of
    the upright picture, `score` [n] (0 for ground truth), `crowd` [n].
    """

    picture: NDArray[np.int64]
    class_index: NDArray[np.int64]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, rows: NDArray[np.int64]) -> BoxColumns:
        """Returns the named rows, in that order."""
        return BoxColumns(
            self.picture[rows], self.class_index[rows], self.xywh[rows], self.score[rows], self.crowd[rows]
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Ground truth and predictions of annotated pictures.

    Pictures stand in the order of their digests, so that the same data gives the same table whatever order it came in.
    Ground truth is sorted by (picture, class, crowd last), predictions by (picture, class, falling score); equal keys
    keep the order of the input, as pycocotools does.
    """

    digests: tuple[str, ...]
    extensions: tuple[str, ...]
    class_names: tuple[str, ...]
    truths: BoxColumns
    predictions: BoxColumns
    unannotated_pictures: int
    foreign_boxes: int


class _Rows:
    """Collects rows of one kind of box."""

    def __init__(self, positions: Mapping[str, int]) -> None:
        self._positions = positions
        self._rows: list[tuple[int, int, float, float, float, float, float, bool]] = []
        self.foreign = 0

    def add(self, picture: int, boxes: Iterable[Box]) -> None:
        """Appends the boxes of one picture; counts those of classes that were not asked for."""
        for box in boxes:
            position = self._positions.get(box.class_name)
            if position is None:
                self.foreign += 1
                continue
            score = 0.0 if box.score is None else box.score
            self._rows.append((picture, position, box.x, box.y, box.w, box.h, score, box.crowd))

    def columns(self) -> BoxColumns:
        """Returns what was collected as arrays."""
        table = np.array(self._rows, dtype=np.float64).reshape(-1, 8)
        return BoxColumns(
            picture=table[:, 0].astype(np.int64),
            class_index=table[:, 1].astype(np.int64),
            xywh=np.ascontiguousarray(table[:, 2:6]),
            score=np.ascontiguousarray(table[:, 6]),
            crowd=table[:, 7] > 0,
        )


def columns(
    pictures: Iterable[Picture],
    predictions: Mapping[str, Sequence[Box]],
    *,
    class_names: Sequence[str],
) -> Columns:
    """Lays out ground truth and predictions as columns.

    Pictures without annotations say nothing about a prediction: they are left out and counted, as are boxes of classes
    that were not asked for and predictions on pictures that are not there.
    """
    seen = {picture.digest: (picture.boxes, picture.extension) for picture in pictures}
    unannotated = sum(1 for boxes, _ in seen.values() if boxes is None)
    digests = tuple(sorted(digest for digest, (boxes, _) in seen.items() if boxes is not None))
    positions = {name: index for index, name in enumerate(class_names)}
    truth_rows, prediction_rows = _Rows(positions), _Rows(positions)
    for index, digest in enumerate(digests):
        truth_rows.add(index, seen[digest][0] or ())
        prediction_rows.add(index, predictions.get(digest, ()))
    truths, predicted = truth_rows.columns(), prediction_rows.columns()
    return Columns(
        digests=digests,
        extensions=tuple(seen[digest][1] for digest in digests),
        class_names=tuple(class_names),
        truths=truths.take(np.lexsort((truths.crowd, truths.class_index, truths.picture))),
        predictions=predicted.take(np.lexsort((-predicted.score, predicted.class_index, predicted.picture))),
        unannotated_pictures=unannotated,
        foreign_boxes=truth_rows.foreign + prediction_rows.foreign,
    )
