"""Instant answers: what any confidence would give, read from the match table without matching again.

Needs numpy and pyarrow only, so that the controller answers with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lodeworks_evaluation.match_table import (
    MATCH_COLUMNS,
    TRUTH,
    class_names_of,
    picture_count_of,
    read_match_table,
)
from lodeworks_evaluation.matching import COCO_IOUS, UNMATCHED

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

DEFAULT_IOU = 0.5
_RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
_LIGHT = ("kind", "class_index", "score", "other_row", "other_iou", "same_iou", "crowd")


@dataclass(frozen=True, slots=True)
class Matches:
    """The match table at one IoU as arrays.

    `truth_*` [truths], `*` of predictions [predictions]. Links are positions on the other side, −1 = nobody, −2 = out
    of the count.
    """

    class_names: tuple[str, ...]
    iou: float
    pictures: int
    truth_class: NDArray[np.int64]
    truth_match: NDArray[np.int64]
    prediction_class: NDArray[np.int64]
    prediction_score: NDArray[np.float64]
    prediction_match: NDArray[np.int64]
    same_iou: NDArray[np.float64]
    other_truth: NDArray[np.int64]
    other_iou: NDArray[np.float64]

    def hits(self, conf: float) -> NDArray[np.bool_]:
        """Says for each prediction whether it is a true positive at this confidence."""
        return np.asarray((self.prediction_match >= 0) & (self.prediction_score >= conf))

    def false_alarms(self, conf: float) -> NDArray[np.bool_]:
        """Says for each prediction whether it is a false positive at this confidence."""
        return np.asarray((self.prediction_match == UNMATCHED) & (self.prediction_score >= conf))

    def found(self, conf: float) -> NDArray[np.bool_]:
        """Says for each ground truth whether a true positive matched it at this confidence (MTP)."""
        matched = self.truth_match >= 0
        score = np.zeros(len(self.truth_match))
        score[matched] = self.prediction_score[self.truth_match[matched]]
        return np.asarray(matched & (score >= conf))

    def missed(self, conf: float) -> NDArray[np.bool_]:
        """Says for each ground truth whether it is a false negative at this confidence."""
        return np.asarray((self.truth_match >= UNMATCHED) & ~self.found(conf))


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives, and the shares made of them; None = nothing to divide by."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP)."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN)."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else None


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision, recall and F1 over confidence, one point per distinct score, highest first. Shapes: [points]."""

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A confidence and the F1 it gives."""

    conf: float
    f1: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """What was taken for what: `counts` [truth, prediction]; the last row and column are the background."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]


def read_matches(source: Path | bytes, *, iou: float = DEFAULT_IOU) -> Matches:
    """Reads what threshold questions need at one of the ten IoUs 0.50, 0.55 … 0.95; ValueError for another one."""
    return matches_of(read_match_table(source, columns=(*_LIGHT, match_column(iou))), iou=iou)


def match_column(iou: float) -> str:
    """Returns the column of the match table for an IoU, or raises ValueError naming those there are."""
    near = np.flatnonzero(np.abs(COCO_IOUS - iou) < 1e-6)  # noqa: PLR2004 - 0.55 is not exact in floating point
    if not near.size:
        raise ValueError(f"IoU {iou} was not matched; choose one of 0.50, 0.55, … 0.95")
    return MATCH_COLUMNS[int(near[0])]


def matches_of(table: pa.Table, *, iou: float = DEFAULT_IOU) -> Matches:
    """Returns the table's links at one IoU as arrays."""
    kind = table["kind"].to_numpy()
    count = int(np.count_nonzero(kind == TRUTH))
    classes = table["class_index"].to_numpy().astype(np.int64)
    links = table[match_column(iou)].to_numpy().astype(np.int64)
    truth_links = links[:count]
    return Matches(
        class_names=class_names_of(table),
        iou=iou,
        pictures=picture_count_of(table),
        truth_class=classes[:count],
        truth_match=np.where(truth_links >= 0, truth_links - count, truth_links),
        prediction_class=classes[count:],
        prediction_score=table["score"].to_numpy()[count:],
        prediction_match=links[count:],
        same_iou=table["same_iou"].to_numpy()[count:].astype(np.float64),
        other_truth=table["other_row"].to_numpy()[count:].astype(np.int64),
        other_iou=table["other_iou"].to_numpy()[count:].astype(np.float64),
    )


def counts_at(matches: Matches, *, conf: float) -> tuple[Counts, dict[str, Counts]]:
    """Returns the counts at a confidence, of all classes together and of each."""
    classes = len(matches.class_names)
    tp = np.bincount(matches.prediction_class[matches.hits(conf)], minlength=classes)
    fp = np.bincount(matches.prediction_class[matches.false_alarms(conf)], minlength=classes)
    fn = np.bincount(matches.truth_class[matches.missed(conf)], minlength=classes)
    each = {
        name: Counts(int(tp[index]), int(fp[index]), int(fn[index])) for index, name in enumerate(matches.class_names)
    }
    return Counts(int(tp.sum()), int(fp.sum()), int(fn.sum())), each


def curve(matches: Matches, *, class_name: str | None = None) -> Curve:
    """Returns precision, recall and F1 over confidence, of one class or of all together."""
    index = None if class_name is None else _class_index(matches, class_name)
    counted = matches.prediction_match >= UNMATCHED
    real = matches.truth_match >= UNMATCHED
    if index is not None:
        counted &= matches.prediction_class == index
        real &= matches.truth_class == index
    scores = matches.prediction_score[counted]
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    tp = np.cumsum((matches.prediction_match[counted] >= 0)[order]).astype(np.float64)
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.zeros(0, np.int64)
    tp, taken, total = tp[last], last + 1.0, float(np.count_nonzero(real))
    return Curve(
        scores=scores[last],
        precision=tp / taken,
        recall=tp / total if total else np.zeros_like(tp),
        f1=2 * tp / (taken + total),
    )


def best_threshold(matches: Matches, *, class_name: str | None = None) -> Threshold | None:
    """Returns the confidence of highest F1 (the higher confidence where two are equal), None without a hit."""
    points = curve(matches, class_name=class_name)
    if not len(points.f1) or not points.f1.max() > 0:
        return None
    best = int(np.argmax(points.f1))
    return Threshold(conf=float(points.scores[best]), f1=float(points.f1[best]))


def average_precision(matches: Matches, *, class_name: str) -> float | None:
    """Returns the 101-point AP of one class at the matches' IoU, equal to COCO's; None without ground truth."""
    index = _class_index(matches, class_name)
    chosen = (matches.prediction_class == index) & (matches.prediction_match >= UNMATCHED)
    total = int(np.count_nonzero((matches.truth_class == index) & (matches.truth_match >= UNMATCHED)))
    return interpolated_ap(matches.prediction_score[chosen], matches.prediction_match[chosen] >= 0, truths=total)


def interpolated_ap(scores: NDArray[np.float64], hit: NDArray[np.bool_], *, truths: int) -> float | None:
    """Returns COCO's 101-point AP of scored hits and misses [n]; None without ground truth."""
    if not truths:
        return None
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(hit[order]).astype(np.float64)
    recall = tp / truths
    precision = tp / np.arange(1.0, len(tp) + 1.0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.mean(np.append(envelope, 0.0)[np.minimum(places, len(envelope))]))


def confusion(matches: Matches, *, conf: float) -> Confusion:
    """Returns the confusion matrix with background at a confidence.

    The diagonal holds the true positives. A false positive that overlaps a missed object of another class enough is
    counted once, as that object taken for this class (the best scored one if several do); what remains on either side
    stands against the background.
    """
    background = len(matches.class_names)
    counts = np.zeros((background + 1, background + 1), np.int64)
    hits = matches.hits(conf)
    np.add.at(counts, (matches.prediction_class[hits], matches.prediction_class[hits]), 1)
    missed = matches.missed(conf)
    alarms = np.flatnonzero(matches.false_alarms(conf))
    alarms = alarms[np.argsort(-matches.prediction_score[alarms], kind="stable")]
    near = alarms[(matches.other_iou[alarms] >= matches.iou) & missed[matches.other_truth[alarms]]]
    taken, first = np.unique(matches.other_truth[near], return_index=True)
    confused = near[first]
    np.add.at(counts, (matches.truth_class[taken], matches.prediction_class[confused]), 1)
    missed[taken] = False
    counts[:, background] += np.bincount(matches.truth_class[missed], minlength=background + 1)
    rest = np.setdiff1d(alarms, confused)
    counts[background] += np.bincount(matches.prediction_class[rest], minlength=background + 1)
    return Confusion((*matches.class_names, "background"), counts)


def _class_index(matches: Matches, class_name: str) -> int:
    if class_name not in matches.class_names:
        raise ValueError(f"class {class_name!r} was not evaluated; there are {', '.join(matches.class_names)}")
    return matches.class_names.index(class_name)
