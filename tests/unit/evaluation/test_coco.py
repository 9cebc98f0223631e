"""The numbers of the COCO protocol and the links of the match table against pycocotools on random boxes."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lodeworks_evaluation.coco import coco_scores
from lodeworks_evaluation.columns import columns
from lodeworks_evaluation.match_table import MATCH_COLUMNS, match_table
from lodeworks_evaluation.matching import IGNORED, match
from lodeworks_evaluation.thresholds import average_precision, matches_of
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = ("a", "b", "c")
NUMBERS = [
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar_1",
    "ar_10",
    "ar_100",
    "ar_small",
    "ar_medium",
    "ar_large",
]

sides = st.sampled_from([1.0, 4.0, 10.0, 31.5, 33.0, 60.0, 120.0])
places = st.sampled_from([0.0, 1.0, 3.0, 5.5, 20.0])
truths = st.builds(
    Box,
    class_name=st.sampled_from(CLASSES[:2]),
    x=places,
    y=places,
    w=sides,
    h=sides,
    crowd=st.sampled_from([False] * 4 + [True]),
)
found = st.builds(
    Box,
    class_name=st.sampled_from(CLASSES),
    x=places,
    y=places,
    w=sides,
    h=sides,
    score=st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 0.9, 1.0]),
)
pages = st.lists(st.tuples(st.lists(truths, max_size=7), st.lists(found, max_size=12)), min_size=1, max_size=5)


def laid_out(pages):
    pictures = [
        Picture(digest=f"{index:064x}", extension="jpg", width=200, height=200, boxes=tuple(boxes))
        for index, (boxes, _) in enumerate(pages)
    ]
    return columns(pictures, {f"{index:064x}": boxes for index, (_, boxes) in enumerate(pages)}, class_names=CLASSES)


def oracle(pages):
    def entries(side):
        entries = []
        for index, page in enumerate(pages):
            for box in page[side]:
                entries.append(
                    {
                        "id": len(entries) + 1,
                        "image_id": index + 1,
                        "category_id": CLASSES.index(box.class_name) + 1,
                        "bbox": [box.x, box.y, box.w, box.h],
                        "area": box.w * box.h,
                        "iscrowd": int(box.crowd),
                        "score": box.score,
                    }
                )
        return entries

    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for side in (0, 1):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": index + 1} for index in range(len(pages))],
                "categories": [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)],
                "annotations": entries(side),
            }
            coco.createIndex()
            sides.append(coco)
        run = COCOeval(*sides, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages)
def test_every_number_equals_pycocotools_to_the_last_digit(pages):
    run = oracle(pages)
    scores = coco_scores(laid_out(pages))
    expected = [None if number < 0 else float(number) for number in run.stats]
    assert [getattr(scores, name) for name in NUMBERS] == expected
    precision = run.eval["precision"]
    for index, name in enumerate(CLASSES):
        measured = precision[:, :, index, 0, 2]
        measured = measured[measured > -1]
        assert scores.per_class[name].ap == (float(np.mean(measured)) if measured.size else None)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages)
def test_links_at_ten_ious_equal_those_of_pycocotools(pages):
    run = oracle(pages)
    laid = laid_out(pages)
    matching = match(laid)
    for image in run.evalImgs:
        if image is None or image["aRng"] != [0, 10000000000.0]:
            continue
        picture, klass = image["image_id"] - 1, image["category_id"] - 1
        mine = np.flatnonzero((laid.predictions.picture == picture) & (laid.predictions.class_index == klass))
        theirs = np.flatnonzero((laid.truths.picture == picture) & (laid.truths.class_index == klass))
        position = {number: theirs[order] for order, number in enumerate(image["gtIds"])}
        for level in range(10):
            expected = [
                IGNORED if ignored else (position[int(number)] if number else -1)
                for number, ignored in zip(image["dtMatches"][level], image["dtIgnore"][level], strict=True)
            ]
            assert matching.prediction_match[level, mine].tolist() == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages)
def test_links_lead_both_ways_and_give_the_same_ap(pages):
    laid = laid_out(pages)
    table = match_table(laid, match(laid))
    for name in MATCH_COLUMNS:
        links = table[name].to_numpy()
        rows = np.flatnonzero(links >= 0)
        assert (links[links[rows]] == rows).all()
    matches, scores = matches_of(table), coco_scores(laid)
    for name in CLASSES:
        assert average_precision(matches, class_name=name) == pytest.approx(scores.per_class[name].ap50, abs=1e-12)


def test_more_than_a_hundred_predictions_of_a_class_are_out_of_the_count():
    boxes = [Box("a", float(index), 0.0, 2.0, 2.0, score=1 - index / 1000) for index in range(130)]
    laid = laid_out([([Box("a", 125.0, 0.0, 2.0, 2.0)], boxes)])
    matching = match(laid)
    assert (matching.prediction_match[:, 100:] == IGNORED).all()
    assert (matching.truth_match == -1).all()


@pytest.mark.parametrize("page", [([], []), ([Box("a", 0, 0, 5, 5)], []), ([], [Box("a", 0, 0, 5, 5, score=0.5)])])
def test_nothing_on_a_side_is_an_answer(page):
    scores = coco_scores(laid_out([page]))
    assert scores.ap == (0.0 if page[0] else None)
    assert scores.per_class["b"].ap is None
