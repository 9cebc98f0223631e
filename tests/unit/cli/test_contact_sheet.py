"""Contact sheets: each box in the colour of what became of it, and nothing of a stranger's name taken for markup."""

import re

from lodeworks.api.dataset.v1 import dataset_pb2 as pb
from lodeworks.contact_sheet import contact_sheet_html

SMALL = b"\xff\xd8\xffsmall"


def box(name, outcome="UNSPECIFIED", **more):
    return pb.Box(class_name=name, x=1, y=2, w=3, h=4, outcome=pb.BoxOutcome.Value(f"BOX_OUTCOME_{outcome}"), **more)


def picture(digest, *, boxes=(), predictions=(), **more):
    given = {"width": 640, "height": 480, "annotated": True, **more}
    return pb.Picture(digest=digest, boxes=boxes, predictions=predictions, **given)


def kinds(html):
    return re.findall(r'<rect class="(\w+)"', html)


def test_without_predictions_there_are_labels():
    html = contact_sheet_html("cells@3", [picture("aa", boxes=[box("RBC"), box("WBC")])], {"aa": SMALL})
    assert kinds(html) == ["gt", "gt"]
    assert "2 boxes" in html
    assert ">label</span>" in html
    assert ">missed</span>" not in html


def test_compared_boxes_are_drawn_once_each():
    boxes = [box("RBC", "TRUE_POSITIVE"), box("RBC", "FALSE_NEGATIVE")]
    predictions = [box("RBC", "TRUE_POSITIVE", score=0.9), box("WBC", "FALSE_POSITIVE", score=0.4), box("x", score=0.1)]
    html = contact_sheet_html("cells@3", [picture("aa", boxes=boxes, predictions=predictions)], {"aa": SMALL})
    assert sorted(kinds(html)) == ["fn", "fp", "tp"]
    assert "1 found · 1 invented · 1 missed" in html
    assert "<title>RBC 0.90</title>" in html


def test_predictions_on_a_picture_that_nobody_annotated_are_shown_as_such():
    html = contact_sheet_html("c@1", [picture("aa", predictions=[box("RBC", score=0.5)], annotated=False)], {})
    assert kinds(html) == []
    assert "cannot be decoded" in html
    html = contact_sheet_html(
        "c@1", [picture("aa", predictions=[box("RBC", score=0.5)], annotated=False)], {"aa": SMALL}
    )
    assert kinds(html) == ["un"]
    assert "no labels" in html


def test_names_are_escaped():
    evil = '<script>alert("1")</script>'
    html = contact_sheet_html(evil, [picture("aa", names=[evil], tags=[evil], boxes=[box(evil)])], {"aa": SMALL})
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6
