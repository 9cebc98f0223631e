"""What keeps datasets in order, typed as a person types it: a real worker measures and draws, on real pictures."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from predicted_zip import with_predictions

if TYPE_CHECKING:
    from local_installation import LocalWorld

DATA = os.environ.get("LODE_TEST_DATA", "")

pytestmark = [
    pytest.mark.skipif(not DATA, reason="LODE_TEST_DATA names no folder with the BCCD zips"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def cells(world: LocalWorld, tmp_path_factory: pytest.TempPathFactory) -> LocalWorld:
    """The training pictures as `labelled`, the test pictures with predictions of an older model as `test`."""
    told = tmp_path_factory.mktemp("zips") / "with-predictions.zip"
    with_predictions(f"{DATA}/bccd-test.zip", told, class_names=("RBC", "WBC", "Platelets"), model="old cells")
    world.lode("dataset", "import", f"{DATA}/bccd-trainval.zip", "--to", "labelled", "--unknown-classes", "add")
    world.lode("dataset", "import", told, "--to", "test")
    world.lode("dataset", "signals", "labelled", "test")
    return world


def test_the_analysis_shows_ten_measures_of_labels_and_predictions(cells: LocalWorld):
    page = cells.folder / "analysis.html"
    found = cells.json("dataset", "analyze", "labelled", "test", "--html", page)

    sides = {(row["name"], row["side"]): row for row in found["totals"]}
    assert set(sides) == {("labelled@1", "labels"), ("test@1", "labels"), ("test@1", "predicted by old cells")}
    assert sides["labelled@1", "labels"]["pictures"] == 292
    assert 0.7 < sides["test@1", "predicted by old cells"]["boxes"] / sides["test@1", "labels"]["boxes"] < 0.9
    for dataset in found["datasets"]:
        for side in dataset["sides"].values():
            totals, spread = side["totals"], side["distributions"]
            assert {"size_bytes", "boxes", "boxes_per_picture", "annotated_share"} <= totals.keys()
            assert set(spread) == {"file_size", "aspect_ratio", "resolution", "quality", "box_size"}
            assert all(sum(spread[key]) == totals["pictures"] for key in spread if key != "box_size")
            assert sum(spread["box_size"]) == sum(side["classes"].values()) == totals["boxes"]
    html = page.read_text("utf-8")
    assert not re.search(r"(src|href)=[\"']?https?:|@import|<script", html), "the page needs the network"
    for title in (
        "Storage",
        "Boxes per picture",
        "With boxes",
        "File size",
        "Aspect ratio",
        "Resolution",
        "Picture quality",
    ):
        assert title in html
    assert "Box size" in html
    assert "Class share" in html
    assert "predicted by old cells" in html


def test_likeness_tags_differences_and_lineage(cells: LocalWorld):
    assert cells.json("dataset", "dedup", "labelled", "--distance", "3", "--dry-run")["removed"] < 30
    leaks = cells.json("dataset", "leaks", "labelled", "test", "--distance", "3")
    assert leaks["counts"][0]["first"] == "labelled@1"
    cells.lode("dataset", "tag", "labelled", "white", "--where", "class = WBC", "--to", "tagged")
    cells.lode("dataset", "untag", "tagged", "white", "--where", "class = Platelets")
    changed = cells.json("dataset", "diff", "tagged@1", "tagged@2")
    assert changed["retagged"] > 100
    assert changed["unchanged"] + changed["retagged"] == 292
    lineage = cells.json("dataset", "lineage", "tagged@2")
    assert [edge["parent"]["name"] for edge in lineage["up"]][:2] == ["tagged@1", "labelled@1"]
    assert "made from" in cells.lode("dataset", "lineage", "tagged").out


def test_hide_restore_share(cells: LocalWorld):
    cells.lode("dataset", "copy", "test", "--from", "default", "--to", "shown")
    cells.lode("dataset", "hide", "shown")
    assert "shown" not in cells.lode("dataset", "ls").out
    cells.lode("dataset", "restore", "shown")
    assert "shown" in cells.lode("dataset", "ls").out
    cells.lode("dataset", "share", "shown")
    assert "shown" in cells.lode("dataset", "ls", "--public").out
    cells.lode("dataset", "share", "shown", "--end")
    assert "shown" not in cells.lode("dataset", "ls", "--public").out
