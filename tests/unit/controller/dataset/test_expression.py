"""Conditions as people write them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_controller.domain.expression import (
    All,
    Annotated,
    AnyOf,
    Compare,
    HasClass,
    HasTag,
    Not,
    class_names,
    parse_condition,
)
from lodeworks_controller.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("class = RBC", HasClass("RBC")),
        ('class = "white cell"', HasClass("white cell")),
        ("class != RBC", Not(HasClass("RBC"))),
        ("tag = 'night'", HasTag("night")),
        ("boxes > 3", Compare("boxes", ">", 3)),
        ('boxes("RBC") >= 2', Compare("boxes", ">=", 2, "RBC")),
        ("width == 640", Compare("width", "=", 640)),
        ("size_bytes < 1000", Compare("size_bytes", "<", 1000)),
        ("annotated and aspect < 1.5", All((Annotated(), Compare("aspect", "<", 1.5)))),
        ("not annotated", Not(Annotated())),
        (
            "class=a or class=b and tag=c",
            AnyOf((HasClass("a"), All((HasClass("b"), HasTag("c"))))),
        ),
        (
            "(class=a or class=b) and tag=c",
            All((AnyOf((HasClass("a"), HasClass("b"))), HasTag("c"))),
        ),
        ("NOT Width >= 640", Not(Compare("width", ">=", 640))),
    ],
)
def test_reads(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends where"),
        ("class", "ends where"),
        ("class = ", "a name"),
        ("width > wide", "a number"),
        ("width > 3 4", "'and', 'or' or the end"),
        ("(class = a", "')'"),
        ("color = red", "class, tag, annotated"),
        ("boxes(RBC > 3", "')'"),
        ("tag > 3", "= or =="),
        ("not " * 60 + "annotated", "nests"),
    ],
)
def test_refuses_and_says_where(text, said):
    with pytest.raises(InvalidError) as refused:
        parse_condition(text)
    assert said in refused.value.message
    assert refused.value.reason == "FILTER_INVALID"


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_a_refusal(text):
    with suppress(InvalidError):
        class_names(parse_condition(text))


def test_names_the_classes_once():
    condition = parse_condition("class = a or (boxes(b) > 1 and not class = a)")

    assert class_names(condition) == ("a", "b")
