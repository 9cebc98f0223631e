"""The analysis of datasets: every picture and box counted once, on both sides, and a page that stands alone."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from lodeworks_builtin.analysis.bins import ASPECT, BOX_SIZE, FILE_SIZE, OF_PICTURES, QUALITY, RESOLUTION
from lodeworks_builtin.analyze import measure_subject, summary_of
from lodeworks_builtin.reports.analysis import analysis_html
from lodeworks_builtin.signal_measures import Signals
from lodeworks_builtin.signals import write_measured
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import write_pictures

NAMES = ("cat", "dog")


def picture(number: int, *, boxes=None, predictions=None, width=640, height=480, size=30_000) -> Picture:
    return Picture(
        digest=f"{number:064x}", extension="jpg", width=width, height=height, size_bytes=size, names=(f"{number}.jpg",),
        boxes=boxes, predictions=predictions,
    )  # fmt: skip


def box(name: str, w: float = 40, h: float = 40, **more) -> Box:
    return Box(name, 1, 1, w, h, **more)


@pytest.fixture
def subject(tmp_path):
    pictures = [
        picture(1, boxes=(box("cat"), box("dog", 4, 9)), predictions=(box("cat", score=0.9),)),
        picture(2, boxes=(), predictions=()),
        picture(3, boxes=(box("cat", 640, 470),), width=640, height=480, size=3_000_000),
        picture(4, boxes=None, predictions=(box("dog", 300, 20, score=0.4),), width=1000, height=200),
    ]
    write_pictures(tmp_path / "view", pictures, kind="view", class_names=NAMES, class_map_revision=1)
    measured = [
        (entry.digest, None if number == 3 else Signals(number, 0, 50.0, 0.5, 0.2, 0.25 * number))
        for number, entry in enumerate(pictures)
    ]
    write_measured(tmp_path / "signals", measured)
    return measure_subject(tmp_path / "view", tmp_path / "signals", name="<pets>@1", predicted_by="old")


def test_every_picture_and_box_is_counted_on_its_side(subject):
    (dataset,) = summary_of([subject], NAMES)["datasets"]
    labels, predicted = dataset["sides"]["gt"], dataset["sides"]["pred"]

    assert labels["totals"] == {
        "pictures": 3, "size_bytes": 3_060_000, "boxes": 3, "boxes_per_picture": 1.0, "with_boxes": 2,
        "annotated_share": 0.5,
    }  # fmt: skip
    assert (predicted["totals"]["pictures"], predicted["totals"]["boxes"]) == (3, 2)
    assert (labels["classes"], predicted["classes"]) == ({"cat": 2, "dog": 1}, {"cat": 1, "dog": 1})
    for side in (labels, predicted):
        spread = side["distributions"]
        assert all(sum(spread[bins.key]) == 3 for bins in (FILE_SIZE, ASPECT, RESOLUTION))
        assert sum(spread[BOX_SIZE.key]) == side["totals"]["boxes"]
    # One of the predicted pictures could not be decoded: it has no quality.
    assert (sum(labels["distributions"][QUALITY.key]), sum(predicted["distributions"][QUALITY.key])) == (3, 2)
    assert labels["together"] == [["cat", "cat", 2], ["cat", "dog", 1], ["dog", "dog", 1]]


def test_what_stands_out_is_named(subject):
    found = summary_of([subject], NAMES)["datasets"][0]["suspects"]
    assert (found["tiny"]["count"], found["tiny"]["shown"]) == (1, ["1.jpg"])
    assert (found["whole"]["count"], found["whole"]["shown"]) == (1, ["3.jpg"])
    assert found["poor"]["count"] == 2
    assert found["crowded"]["count"] == 0
    assert found["alike"]["count"] == 3  # hashes 0, 1 and 2 are within three bits of each other


def test_the_page_stands_alone_and_escapes_what_people_called_things(subject):
    page = analysis_html(summary_of([subject, subject], NAMES))
    assert "<pets>" not in page
    assert "&lt;pets&gt;" in page
    assert not re.search(r"(src|href)=[\"']?https?:|@import|<script", page)
    assert page.count('class="card bars"') == 6


@pytest.mark.parametrize("bins", [*OF_PICTURES, BOX_SIZE], ids=lambda bins: bins.key)
def test_bins_take_everything_once(bins):
    assert len(bins.labels) == len(bins.edges) + 1
    values = np.array([-1.0, 0.0, *bins.edges, 1e12, np.nan, np.inf])
    assert int(bins.count(values).sum()) == len(values) - 2


def test_an_empty_dataset_has_a_page_too(tmp_path):
    write_pictures(tmp_path / "view", [], kind="view", class_names=NAMES, class_map_revision=1)
    write_measured(tmp_path / "signals", [])
    assert pq.read_table(tmp_path / "signals").num_rows == 0
    empty = measure_subject(tmp_path / "view", tmp_path / "signals", name="none@1", predicted_by="")
    assert "none@1" in analysis_html(summary_of([empty], NAMES))
