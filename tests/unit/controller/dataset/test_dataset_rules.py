"""Names, shares, reports, lineage and states of datasets."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_controller.domain.dataset import Content, DatasetVersion, Making, Operation, VersionState
from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.manifest import ClassCount, Statistics, covering
from lodeworks_controller.domain.operation import Filter, Sample, Split, check_seed
from lodeworks_controller.domain.project import Member, ObjectType, check_member_change
from lodeworks_controller.domain.reference import Reference, check_name, parse_reference
from lodeworks_controller.domain.report import check_agreement, check_report, counts_of, rejections_of
from lodeworks_controller.errors import BadOutputError, ConflictError, InvalidError
from lodeworks_formats.manifest import SegmentRef

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("cells", Reference("cells")),
        ("cells@3", Reference("cells", 3)),
        ("cells@3:epoch_10", Reference("cells", 3, "epoch_10")),
        ("cells:best", Reference("cells", None, "best")),
        (" Zellen-ä_1.2 ", Reference("Zellen-ä_1.2")),
    ],
)
def test_references_are_read(text, meant):
    assert parse_reference(text) == meant
    assert parse_reference(str(meant)) == meant


@pytest.mark.parametrize("text", ["", "@3", "cells@", "cells@0", "cells@x", "cells@-1", "a b", "cells:", "a/b", "-x"])
def test_bad_references_are_refused(text):
    with pytest.raises(InvalidError) as refused:
        parse_reference(text)
    assert refused.value.reason == "NAME_INVALID"


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a,b", "a=b", ".hidden", "tab\tname", "0" * 26])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidError):
        check_name(name)


@given(
    shares=st.lists(st.floats(0.01, 100), min_size=2, max_size=6),
    pictures=st.integers(0, 10_000),
)
def test_a_split_deals_out_everything_near_its_shares(shares, pictures):
    split = Split({f"part{place}": share for place, share in enumerate(shares)}).check()

    sizes = split.sizes(pictures)

    assert sum(sizes) == pictures
    if pictures >= len(sizes):
        assert min(sizes) >= 1
    for size, share in zip(sizes, shares, strict=True):
        assert abs(size - share / sum(shares) * pictures) <= len(sizes)


def test_splits_that_make_no_sense_are_refused():
    for shares in ({"a": 1}, {"a": 1, "b": 0}, {"a": 1, "b": float("nan")}, {"a": 1, "a@1": 1}):
        with pytest.raises(InvalidError):
            Split(shares).check()


def test_samples_have_a_count_or_a_share():
    assert Sample(count=10).size_of(5) == 5
    assert Sample(share=0.5).size_of(9) == 4
    assert Sample(share=0.001).size_of(9) == 1
    for wrong in (Sample(), Sample(count=1, share=0.5), Sample(count=0), Sample(share=1.5), Sample(share=0)):
        with pytest.raises(InvalidError):
            wrong.size_of(10)
    with pytest.raises(InvalidError):
        check_seed(-1)


def test_a_filter_records_what_was_said_and_nothing_else():
    assert Filter(classes=("RBC",), annotated=False, min_boxes=2).parameters() == {
        "classes": ["RBC"],
        "annotated": False,
        "min_boxes": 2,
    }
    with pytest.raises(InvalidError):
        Filter().condition()


def tally(total, **parts):
    return {"total": total, "accepted": 0, "merged": 0, "rejected": 0, **parts}


def report(**changes):
    good = {
        "files": tally(5, accepted=3, rejected=1, other=1),
        "pictures": tally(2, accepted=2),
        "annotations": tally(2, accepted=1, rejected=1),
        "predictions": tally(0),
        "boxes": tally(3, accepted=2, rejected=1),
        "predicted_boxes": tally(0),
        "problems": [
            {"file": "a.xml", "line": 7, "reason": "ZERO_AREA_BOX", "message": "no area", "outcome": "rejected"},
            {"file": "b.xml", "reason": "OUTSIDE", "message": "clipped", "outcome": "clipped"},
        ],
    }
    return good | changes


def test_a_report_must_add_up():
    assert counts_of(check_report(report())).boxes_rejected == 1
    wrong = [
        [],
        {},
        report(boxes=tally(4, accepted=2, rejected=1)),
        report(pictures=tally(2, accepted=3, rejected=-1)),
        report(files=tally(5, accepted=4, rejected=0, other=1)),
        report(boxes={"total": True}),
    ]
    for told in wrong:
        with pytest.raises(BadOutputError):
            check_report(told)


def test_a_report_must_agree_with_what_came():
    check_agreement(report(), pictures=2, annotated=1, boxes=2, predicted_boxes=0)
    with pytest.raises(BadOutputError, match="holds 3"):
        check_agreement(report(), pictures=2, annotated=1, boxes=3, predicted_boxes=0)


def test_rejections_say_where():
    first, second = rejections_of(report(), limit=10)

    assert (first.file, first.taken, second.taken) == ("a.xml:7", False, True)


def version(**more):
    given = {"state": VersionState.CREATING, "object_type": ObjectType.DETECTION, "making": Making(Operation.IMPORT)}
    return DatasetVersion(
        id="v", dataset_id="d", project_id="p", name="cells", number=1, class_revision=0, created_by="u",
        created_at=NOW, **(given | more),
    )  # fmt: skip


def test_a_version_becomes_ready_once():
    content = Content("digest", Statistics(pictures=1))
    ready = version().ready(content, class_revision=2, at=NOW)

    assert ready.require_content() == content
    assert ready.fail("late") is ready
    with pytest.raises(ConflictError, match="never changes"):
        ready.ready(content, class_revision=2, at=NOW)
    with pytest.raises(ConflictError, match="being made"):
        version().require_content()
    with pytest.raises(ConflictError, match="out of memory"):
        version().fail("out of memory").require_content()
    with pytest.raises(ConflictError, match="deleted"):
        replace(ready, deleted_at=NOW).require_content()
    # A task can be retried, so what failed can still become ready.
    assert version().fail("lost").ready(content, class_revision=2, at=NOW).failure is None


def test_statistics_survive_json():
    figures = Statistics(3, 2, 5, 900, {7: ClassCount(5, 2)})

    assert Statistics.from_json(figures.to_json()) == figures


def test_segments_are_found_by_their_ids():
    def segment(digest, first, last, rows=1):
        return SegmentRef("boxes", digest, 1, rows, first, last)

    parts = [segment("b", 10, 19), segment("a", 0, 9), segment("b", 10, 19), segment("empty", 0, 0, rows=0)]

    assert [part.digest for part in covering(parts, low=9, high=10)] == ["a", "b"]
    assert covering(parts, low=20, high=30) == ()


def test_the_last_owner_stays():
    members = (Member("p", "ada", ProjectRole.OWNER), Member("p", "bob", ProjectRole.EDITOR))

    check_member_change(members, user_id="bob", role=None)
    check_member_change(members, user_id="ada", role=ProjectRole.OWNER)
    for role in (None, ProjectRole.VIEWER):
        with pytest.raises(ConflictError):
            check_member_change(members, user_id="ada", role=role)
