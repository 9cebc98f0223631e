import math

import pytest
from lodeworks_converters.guard import GuardScores, TriedRow, judge, table

REFERENCE = GuardScores(map=0.50, map50=0.85, per_class={"RBC": 0.6, "Platelets": 0.4, "ghost": 0.0})


def variant(mean, **per_class):
    return GuardScores(map=mean, map50=0.8, per_class={**REFERENCE.per_class, **per_class})


@pytest.mark.parametrize(
    ("scores", "accepted"),
    [
        (variant(0.50), True),
        (variant(0.49), True),
        (variant(0.52), True),
        (variant(0.4899), False),
        (variant(0.50, Platelets=0.0), False),
        (variant(0.50, Platelets=0.001), True),
        (variant(0.50, ghost=0.0), True),
        (variant(math.nan), False),
    ],
)
def test_the_verdict(scores, accepted):
    verdict = judge(REFERENCE, scores, max_drop=0.0100001)
    assert verdict.accepted is accepted
    assert (verdict.reason is None) is accepted


def test_a_lost_class_is_named_and_a_missing_one_counts_as_lost():
    verdict = judge(REFERENCE, GuardScores(map=0.5, map50=0.9, per_class={"RBC": 0.9}), max_drop=1.0)
    assert verdict.reason == "Platelets is not found any more"
    assert verdict.class_drops["Platelets"] == pytest.approx(0.4)


def test_the_table_tells_what_was_tried():
    rows = [
        TriedRow("min-max", variant(0.40, RBC=0.1), judge(REFERENCE, variant(0.40, RBC=0.1), max_drop=0.01)),
        TriedRow("percentile", variant(0.499), judge(REFERENCE, variant(0.499), max_drop=0.01)),
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 3
    assert "RBC +0.5000" in lines[1]
    assert "mAP50:95 drops by 0.1000" in lines[1]
    assert lines[2].endswith("passes")
