"""Threshold questions answered from the match table, and what they mean on a picture drawn by hand."""

import numpy as np
import pytest
from lodeworks_evaluation.columns import columns
from lodeworks_evaluation.error_kinds import ErrorKind, error_shares, kinds_of_predictions
from lodeworks_evaluation.match_table import match_table, read_match_table, write_match_table
from lodeworks_evaluation.matching import match
from lodeworks_evaluation.thresholds import (
    best_threshold,
    confusion,
    counts_at,
    curve,
    matches_of,
    read_matches,
)
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture

DIGEST = "ab" * 32
TRUTHS = (
    Box("cat", 0, 0, 10, 10),
    Box("cat", 50, 0, 10, 10),
    Box("dog", 0, 50, 10, 10),
    Box("dog", 80, 80, 10, 10),
)
FOUND = (
    Box("cat", 0, 0, 10, 10, score=0.9),  # right
    Box("cat", 1, 0, 10, 10, score=0.8),  # a second one on the same object
    Box("cat", 0, 50, 10, 10, score=0.7),  # a dog taken for a cat
    Box("cat", 54, 0, 10, 10, score=0.6),  # beside its object: IoU 6/14
    Box("dog", 30, 30, 5, 5, score=0.5),  # nothing there
    Box("dog", 80, 80, 10, 10, score=0.3),  # right, unsure
)


def table_of(truths=TRUTHS, found=FOUND):
    picture = Picture(digest=DIGEST, extension="png", width=100, height=100, boxes=truths)
    laid = columns([picture], {DIGEST: found}, class_names=["cat", "dog"])
    return match_table(laid, match(laid))


def test_counts_follow_the_confidence():
    matches = matches_of(table_of())
    total, each = counts_at(matches, conf=0.4)
    assert (total.tp, total.fp, total.fn) == (1, 4, 3)
    assert (each["cat"].tp, each["cat"].fp, each["cat"].fn) == (1, 3, 1)
    total, _ = counts_at(matches, conf=0.2)
    assert (total.tp, total.fp, total.fn) == (2, 4, 2)
    assert total.precision == pytest.approx(2 / 6)
    assert total.recall == pytest.approx(2 / 4)
    assert total.f1 == pytest.approx(4 / 10)
    empty, _ = counts_at(matches, conf=0.95)
    assert (empty.precision, empty.recall, empty.f1) == (None, 0.0, 0.0)


def test_the_curve_has_one_point_per_score_and_the_best_threshold_is_its_top():
    matches = matches_of(table_of())
    points = curve(matches, class_name="dog")
    assert points.scores.tolist() == [0.5, 0.3]
    assert points.precision.tolist() == [0.0, 0.5]
    assert points.recall.tolist() == [0.0, 0.5]
    best = best_threshold(matches, class_name="cat")
    assert best is not None
    assert best.conf == 0.9
    assert best.f1 == pytest.approx(2 / 3)


def test_equal_scores_fall_together():
    found = (Box("cat", 0, 0, 10, 10, score=0.5), Box("cat", 30, 30, 10, 10, score=0.5))
    points = curve(matches_of(table_of(TRUTHS[:1], found)))
    assert points.scores.tolist() == [0.5]
    assert points.precision.tolist() == [0.5]


def test_confusion_counts_every_box_once():
    matches = matches_of(table_of())
    answer = confusion(matches, conf=0.2)
    assert answer.labels == ("cat", "dog", "background")
    assert answer.counts.tolist() == [[1, 0, 1], [1, 1, 0], [2, 1, 0]]
    total, _ = counts_at(matches, conf=0.2)
    assert answer.counts[:, :2].sum() == total.tp + total.fp
    assert answer.counts[:2].sum() == total.tp + total.fn


def test_each_mistake_has_its_kind():
    matches = matches_of(table_of())
    kinds = dict(zip(matches.prediction_score.tolist(), kinds_of_predictions(matches, conf=0.2).tolist(), strict=True))
    assert kinds == {
        0.9: ErrorKind.NONE,
        0.8: ErrorKind.DUPLICATE,
        0.7: ErrorKind.CLASSIFICATION,
        0.6: ErrorKind.LOCALISATION,
        0.5: ErrorKind.BACKGROUND,
        0.3: ErrorKind.NONE,
    }
    shares = error_shares(matches, conf=0.2)
    assert shares[ErrorKind.MISSED].count == 2
    assert shares[ErrorKind.BACKGROUND].gain > 0


def test_the_table_survives_the_file_and_its_bytes_are_always_the_same(tmp_path):
    table = table_of()
    for name in ("a", "b"):
        write_match_table(tmp_path / name, table)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_match_table(tmp_path / "a").equals(table)
    for iou in (0.5, 0.55, 0.95):
        read = read_matches((tmp_path / "a").read_bytes(), iou=iou)
        assert np.array_equal(read.prediction_match, matches_of(table, iou=iou).prediction_match)
        assert read.pictures == 1


def test_a_question_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"IoU 0.3 was not matched"):
        matches_of(table_of(), iou=0.3)
    with pytest.raises(ValueError, match=r"class 'cow' was not evaluated"):
        curve(matches_of(table_of()), class_name="cow")
    with pytest.raises(ValueError, match=r"not a match table"):
        read_matches(b"no table")


def test_crowds_are_out_of_the_count():
    truths = (Box("cat", 0, 0, 100, 100, crowd=True),)
    total, _ = counts_at(matches_of(table_of(truths, FOUND[:4])), conf=0.1)
    assert (total.tp, total.fp, total.fn) == (0, 0, 0)
