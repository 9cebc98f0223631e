"""The YMIR protocol on boxes whose outcome can be told by hand, and beside the COCO numbers."""

import subprocess
import sys

import pytest
from lodeworks_evaluation.columns import columns
from lodeworks_evaluation.evaluation import evaluate
from lodeworks_evaluation.ymir import ymir_scores
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture

DIGEST = "01" * 32


def scores_of(truths, found, **options):
    picture = Picture(digest=DIGEST, extension="png", width=100, height=100, boxes=tuple(truths))
    return ymir_scores(columns([picture], {DIGEST: found}, class_names=["cat", "dog"]), **options)


def test_classes_without_ground_truth_count_as_zero():
    scores = scores_of([Box("cat", 0, 0, 9, 9)], [Box("cat", 0, 0, 9, 9, score=0.9)])
    assert scores.per_class["cat"].ap == 1.0
    assert scores.per_class["dog"].ap == 0.0
    assert scores.ap == 0.5


def test_the_best_ground_truth_is_taken_or_none():
    truths = [Box("cat", 0, 0, 10, 10), Box("cat", 3, 0, 10, 10)]
    found = [Box("cat", 0, 0, 10, 10, score=0.9), Box("cat", 1, 0, 10, 10, score=0.8)]
    cat = scores_of(truths, found).per_class["cat"]
    assert (cat.tp, cat.fp, cat.fn) == (1, 1, 1)
    assert cat.ar == 0.5


def test_confidence_and_iou_are_strict_and_corners_are_pixels():
    truth, found = Box("cat", 0, 0, 9, 9), Box("cat", 0, 0, 9, 4, score=0.5)  # 50 of 100 pixels
    assert scores_of([truth], [found]).per_class["cat"].tp == 0
    assert scores_of([truth], [found], iou=0.499).per_class["cat"].tp == 1
    assert scores_of([truth], [found], iou=0.499, conf=0.5).per_class["cat"].fp == 0


def test_area_under_the_envelope():
    truths = [Box("cat", 0, 0, 9, 9), Box("cat", 50, 50, 9, 9)]
    found = [
        Box("cat", 0, 0, 9, 9, score=0.9),
        Box("cat", 30, 30, 9, 9, score=0.8),
        Box("cat", 50, 50, 9, 9, score=0.7),
    ]
    assert scores_of(truths, found).per_class["cat"].ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_the_summary_names_its_protocol_and_holds_both():
    picture = Picture(digest=DIGEST, extension="png", width=100, height=100, boxes=(Box("cat", 0, 0, 9, 9),))
    bare = Picture(digest="02" * 32, extension="png", width=100, height=100)
    found = {DIGEST: [Box("cat", 0, 0, 9, 9, score=0.9), Box("cow", 0, 0, 9, 9, score=0.9)]}
    evaluation = evaluate([picture, bare], found, class_names=["cat"], protocol="ymir", iou=0.6)
    summary = evaluation.summary()
    assert (summary["protocol"], summary["ymir"]["iou"], evaluation.ap) == ("ymir", 0.6, 1.0)
    assert (summary["pictures"], summary["unannotated_pictures"], summary["foreign_boxes"]) == (1, 1, 1)
    assert summary["per_class"]["cat"]["best_conf"] == 0.9
    assert summary["at_best_threshold"]["precision"] == 1.0
    with pytest.raises(ValueError, match="protocol 'voc' is not known"):
        evaluate([], {}, class_names=[], protocol="voc")


def test_the_threshold_side_needs_no_engine():
    code = (
        "import sys; import lodeworks_evaluation.thresholds, lodeworks_evaluation.error_kinds;"
        "print([name for name in ('hotcoco', 'cv2', 'pycocotools') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
