"""What became of the boxes of members when a prediction set is held against them, some thousand members at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from lodeworks_evaluation.columns import BoxColumns, Columns
from lodeworks_evaluation.matching import COCO_IOUS, UNMATCHED, match
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import BOXES
from lodeworks_controller.domain.outcome import HasPrediction, Outcome
from lodeworks_controller.storage.segments.assembly import prediction_records
from lodeworks_controller.storage.segments.job_types import Beside, Source
from lodeworks_controller.storage.segments.reading import Ids, IdSet, ids_of, ids_or_none, rows_of

Flags = NDArray[np.bool_]

_AT_ONCE: Final = 20_000
_COLUMNS: Final = ("rec", "rid", "x", "y", "w", "h", "score", "crowd")
_ROOM: Final = 1_000_000_000  # predictions beyond a limit would be neither right nor wrong

NONE, TP, FP, FN = 0, 1, 2, 3
OUTCOMES: Final = {Outcome.TRUE_POSITIVE: TP, Outcome.FALSE_POSITIVE: FP, Outcome.FALSE_NEGATIVE: FN}
"""The codes of outcomes; NONE is a box that was not compared."""


@dataclass(frozen=True, slots=True)
class Side:
    """Boxes of classes of the map, in the order of their records.

    Shapes, one row per box: ``place`` of the member, ``rid``, ``score`` (0 where there is none), ``outcome`` (code).
    """

    place: Ids
    rid: Ids
    score: NDArray[np.float64]
    outcome: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Compared:
    """Ground truth and predictions of members, box by box."""

    truths: Side
    predictions: Side


def pictures_with(members: Any, what: HasPrediction, *, source: Source, beside: Beside, rids: IdSet | None) -> Flags:
    """Says for each member (aid, rec, sorted by aid) whether one box fulfils the condition.

    Args:
        members: Arrow table.
        what: The condition; its classes come as ``rids``.
        source: The version's segments.
        beside: The prediction set.
        rids: Raw classes of the boxes that are looked for; None = all of the map.
    """
    found = np.zeros(members.num_rows, dtype=np.bool_)
    for start in range(0, members.num_rows, _AT_ONCE):
        part = members.slice(start, _AT_ONCE)
        compared = compare(part, what, source=source, beside=beside)
        for side, hit in _hits(compared, what):
            chosen = hit if rids is None else hit & rids.contains(side.rid)
            found[start + side.place[chosen]] = True
    return found


def _hits(compared: Compared, what: HasPrediction) -> Iterator[tuple[Side, Flags]]:
    predictions, truths = compared.predictions, compared.truths
    inside = (predictions.score >= np.float32(what.min_score)) & (predictions.score <= np.float32(what.max_score))
    wanted = [OUTCOMES[outcome] for outcome in what.outcomes]
    yield predictions, inside & np.isin(predictions.outcome, wanted) if wanted else inside
    yield truths, (truths.outcome == FN) & (FN in wanted)


def compare(members: Any, what: HasPrediction, *, source: Source, beside: Beside) -> Compared:
    """Returns the boxes of members on both sides, each with what became of it at the condition's score and IoU."""
    recs = ids_or_none(members.column("rec"))
    predicted_recs = prediction_records(beside.predictions, ids_of(members.column("aid")))
    truths, truth_boxes = _boxes(recs, source, beside)
    predictions, predicted_boxes = _boxes(predicted_recs, beside.predictions, beside)
    # Where nobody annotated, a prediction is neither right nor wrong.
    made = np.flatnonzero((predictions.score >= np.float32(what.min_score)) & (recs[predictions.place] >= 0))
    left = np.lexsort((truth_boxes.crowd, truth_boxes.class_index, truth_boxes.picture))
    keys = (-predicted_boxes.score[made], predicted_boxes.class_index[made], predicted_boxes.picture[made])
    right = made[np.lexsort(keys)]
    columns = Columns((), (), (), truth_boxes.take(left), predicted_boxes.take(right), 0, 0)
    matching = match(columns, max_detections=_ROOM)
    level = int(np.argmin(np.abs(COCO_IOUS - what.iou)))
    taken, found = matching.prediction_match[level], matching.truth_match[level]
    predictions.outcome[right] = np.select([taken >= 0, taken == UNMATCHED], [TP, FP], NONE)
    truths.outcome[left] = np.select([found >= 0, found == UNMATCHED], [TP, FN], NONE)
    return Compared(truths, predictions)


def by_place(side: Side, *, members: int) -> list[list[int]]:
    """Returns for each member the codes of its boxes, in the order of its record."""
    order = np.argsort(side.place, kind="stable")
    ends = np.searchsorted(side.place[order], np.arange(1, members))
    return [part.tolist() for part in np.split(side.outcome[order], ends)]


def _boxes(recs: Ids, source: Source, beside: Beside) -> tuple[Side, BoxColumns]:
    """Returns the boxes of records (one per place, -1 = none), of the classes of the map, in the records' order."""
    places = np.flatnonzero(recs >= 0)
    places = places[np.argsort(recs[places], kind="stable")]
    rows = rows_of((source,), BOXES, recs[places], columns=_COLUMNS)
    known = np.array(sorted(beside.classes), dtype=np.int64)
    shown = IdSet(known).contains(ids_of(rows.column("rid")))
    rows = rows.filter(pa.array(shown)).combine_chunks()
    rids = ids_of(rows.column("rid"))
    place = places[np.searchsorted(recs[places], ids_of(rows.column("rec")))]
    names = {name: index for index, name in enumerate(sorted(set(beside.classes.values())))}
    indexes = np.array([names[beside.classes[rid]] for rid in known.tolist()], dtype=np.int64)
    score = _numbers(rows, "score")
    boxes = BoxColumns(
        picture=place,
        class_index=indexes[np.searchsorted(known, rids)],
        xywh=np.stack([_numbers(rows, name) for name in ("x", "y", "w", "h")], axis=1),
        score=score,
        crowd=_numbers(rows, "crowd") > 0,
    )
    return Side(place, rids, score, np.zeros(len(rids), dtype=np.int8)), boxes


def _numbers(rows: Any, name: str) -> NDArray[np.float64]:
    column = rows.column(name).combine_chunks().cast(pa.float64() if name != "crowd" else pa.int8())
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.float64)
