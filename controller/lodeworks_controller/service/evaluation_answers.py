"""Answers about an evaluation from its match table, with the threshold side of ``lodeworks_evaluation``.

Loaded with the first question: an idle controller needs neither numpy nor pyarrow.
"""

from collections.abc import Sequence

from lodeworks_evaluation import thresholds
from lodeworks_evaluation.boxes_by_outcome import BoxOutcome, OutcomePage, boxes_by_outcome

from lodeworks_controller.service.evaluation import BestThreshold, BoxQuery, CountsAt, OutcomeCounts


def best_thresholds(table: bytes, *, iou: float) -> list[BestThreshold]:
    """Returns for each class the confidence of highest F1 and the counts there; classes without a hit are left out."""
    matches = thresholds.read_matches(table, iou=iou)
    found = ((name, thresholds.best_threshold(matches, class_name=name)) for name in matches.class_names)
    return [
        BestThreshold(name, best.conf, _counts(thresholds.counts_at(matches, conf=best.conf)[1][name]))
        for name, best in found
        if best is not None
    ]


def counts(table: bytes, *, iou: float, conf: float) -> CountsAt:
    """Returns right and wrong boxes at a confidence, together and by class."""
    total, each = thresholds.counts_at(thresholds.read_matches(table, iou=iou), conf=conf)
    return CountsAt(_counts(total), {name: _counts(one) for name, one in each.items()})


def curve(
    table: bytes, *, iou: float, class_name: str | None, most_points: int
) -> Sequence[tuple[float, float, float]]:
    """Returns (confidence, precision, recall) by falling confidence, thinned evenly; both ends stay."""
    points = thresholds.curve(thresholds.read_matches(table, iou=iou), class_name=class_name)
    rows = list(zip(points.scores.tolist(), points.precision.tolist(), points.recall.tolist(), strict=True))
    if len(rows) <= most_points:
        return rows
    step = (len(rows) - 1) / (most_points - 1)
    return [rows[round(place * step)] for place in range(most_points)]


def confusion(table: bytes, *, iou: float, conf: float) -> tuple[tuple[str, ...], list[list[int]]]:
    """Returns the classes with the background last, and truth × prediction."""
    answer = thresholds.confusion(thresholds.read_matches(table, iou=iou), conf=conf)
    return answer.labels, answer.counts.tolist()


def boxes(table: bytes, *, query: BoxQuery) -> OutcomePage:
    """Returns a page of boxes of one outcome."""
    return boxes_by_outcome(
        table,
        BoxOutcome(query.outcome.value),
        iou=query.iou,
        conf=query.conf,
        class_name=query.class_name,
        start=query.start,
        limit=query.limit,
    )


def _counts(found: thresholds.Counts) -> OutcomeCounts:
    return OutcomeCounts(found.tp, found.fp, found.fn, found.precision or 0.0, found.recall or 0.0, found.f1 or 0.0)
