"""The boxes behind a number: true and false positives, missed objects, and the objects that were found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_evaluation.match_table import TRUTH, class_names_of, read_match_table
from lodeworks_evaluation.matching import UNMATCHED
from lodeworks_evaluation.thresholds import match_column

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

_COLUMNS = (
    *("digest", "extension", "kind", "class_index", "score", "x", "y", "w", "h"),
    *("same_row", "same_iou", "other_row", "other_iou"),
)


class BoxOutcome(Enum):
    """What became of a box. MTP is the ground truth that a true positive found."""

    TP = "tp"
    FP = "fp"
    FN = "fn"
    MTP = "mtp"


@dataclass(frozen=True, slots=True)
class OutcomeBox:
    """One box: its picture, and the box on the other side that it matched or (a false positive) overlaps most.

    `score` is 0 for ground truth; `iou` 0 and `partner_class` empty where there is no such box.
    """

    digest: str
    extension: str
    class_name: str
    x: float
    y: float
    w: float
    h: float
    score: float
    iou: float
    partner_class: str


@dataclass(frozen=True, slots=True)
class OutcomePage:
    """Some boxes of an outcome, by falling confidence (ground truth by picture), and how many there are in all."""

    boxes: tuple[OutcomeBox, ...]
    total: int


def boxes_by_outcome(
    source: Path | bytes,
    outcome: BoxOutcome,
    *,
    iou: float,
    conf: float,
    class_name: str | None = None,
    start: int = 0,
    limit: int = 100,
) -> OutcomePage:
    """Returns a page of boxes of one outcome; ValueError for an IoU or a class that was not evaluated."""
    column = match_column(iou)
    table = read_match_table(source, columns=(*_COLUMNS, column))
    names = class_names_of(table)
    if class_name is not None and class_name not in names:
        raise ValueError(f"class {class_name!r} was not evaluated; there are {', '.join(names)}")
    links = table[column].to_numpy()
    rows = _rows(table, links, outcome, conf=conf)
    if class_name is not None:
        rows = rows[table["class_index"].to_numpy()[rows] == names.index(class_name)]
    page = rows[start : start + limit]
    partner, overlap = _partners(table, links, page)
    cells = table.select(["digest", "extension", "score", *"xywh"]).take(page).to_pylist()
    classes = table["class_index"].to_numpy()
    boxes = tuple(
        OutcomeBox(
            digest=cell["digest"].hex(),
            extension=cell["extension"],
            class_name=names[classes[row]],
            x=cell["x"],
            y=cell["y"],
            w=cell["w"],
            h=cell["h"],
            score=cell["score"],
            iou=float(overlap[place]),
            partner_class=names[classes[partner[place]]] if partner[place] >= 0 else "",
        )
        for place, (row, cell) in enumerate(zip(page.tolist(), cells, strict=True))
    )
    return OutcomePage(boxes, len(rows))


def _rows(table: pa.Table, links: NDArray[np.int64], outcome: BoxOutcome, *, conf: float) -> NDArray[np.int64]:
    """Returns the rows of an outcome in the order of the answer."""
    truth = table["kind"].to_numpy() == TRUTH
    score = table["score"].to_numpy()
    if outcome in {BoxOutcome.TP, BoxOutcome.FP}:
        fate = links >= 0 if outcome is BoxOutcome.TP else links == UNMATCHED
        rows = np.flatnonzero(~truth & fate & (score >= conf))
        return rows[np.argsort(-score[rows], kind="stable")]
    partner_score = np.where(links >= 0, score[np.maximum(links, 0)], -1.0) if len(links) else np.zeros(0)
    found = (links >= 0) & (partner_score >= conf)
    return np.flatnonzero(truth & (found if outcome is BoxOutcome.MTP else (links >= UNMATCHED) & ~found))


def _partners(
    table: pa.Table, links: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the row on the other side of each row (−1 = none) and the overlap with it."""
    same, other = table["same_row"].to_numpy()[rows], table["other_row"].to_numpy()[rows]
    same_iou, other_iou = table["same_iou"].to_numpy()[rows], table["other_iou"].to_numpy()[rows]
    nearest = np.where(same_iou >= other_iou, same, other)
    partner = np.where(links[rows] >= 0, links[rows], nearest)
    xywh = np.column_stack([table[name].to_numpy() for name in "xywh"]).astype(np.float64)
    return partner, np.where(partner >= 0, _iou(xywh[rows], xywh[np.maximum(partner, 0)]), 0.0)


def _iou(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(left[:, :2], right[:, :2])
    high = np.minimum(left[:, :2] + left[:, 2:], right[:, :2] + right[:, 2:])
    overlap = np.prod(np.maximum(high - low, 0.0), axis=1)
    union = np.prod(left[:, 2:], axis=1) + np.prod(right[:, 2:], axis=1) - overlap
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0))
