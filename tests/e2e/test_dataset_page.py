"""Types what docs/datasets.md tells to type, on made pictures with predictions of an older model."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from local_installation import LocalWorld
from predicted_zip import with_predictions

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/datasets.md"
PROGRAM = Path(__file__).parents[1] / "world" / "counting_executor.py"
NAMES = ("ring", "square", "cross", "star")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorld]:
    """An installation whose detector is a program that is through at once; the page's zip."""
    world = LocalWorld(tmp_path_factory.mktemp("world"))
    worker = world.state / "worker"
    worker.mkdir(parents=True)
    command = json.dumps([sys.executable, str(PROGRAM)])
    (worker / "worker.toml").write_text(f'drivers = ["process"]\n[executors.detector]\ncommand = {command}\n')
    made = world.made_pictures(pictures=60, seed=3)
    with_predictions(made, world.folder / "labelled.zip", class_names=NAMES, model="old")
    world.up()
    yield world
    world.down()


def test_the_page_can_be_typed(world: LocalWorld):
    typed = steps(PAGE)
    assert len(typed) >= 16
    before = None
    for step in typed:
        words = shlex.split(step.command)[1:]
        if words[:2] == ["class", "rename"]:
            before = world.json("dataset", "show", "train@1")
        if words[:2] == ["model", "train"]:
            words += ["--set", "epochs=2"]
        said = world.lode(*words, ok=False)
        everything = said.out + said.err
        assert said.code == step.code, f"{PAGE.name}:{step.line}: {step.command}\n{everything}"
        for line in step.shown:
            found = [re.sub(r"\s+", " ", one).strip() for one in everything.splitlines()]
            wanted = re.sub(r"\s+", " ", line).strip()
            assert any(one.startswith(wanted) for one in found), f"{PAGE.name}:{step.line} shows {line!r}\n{everything}"
    assert before is not None
    _check_outcomes(world)
    _check_small_pictures(world)
    _check_renamed_class(world, before)


def _check_outcomes(world: LocalWorld) -> None:
    """Every fifth label of a picture is missed, none is invented, and scores go from 0.5 to 0.8."""
    pictures = world.json("dataset", "browse", "labelled@1", "--outcome", "fn", "--limit", "60")
    assert pictures
    for picture in pictures:
        outcomes = [box["outcome"] for box in picture["boxes"]]
        assert outcomes.count("false_negative") == len(outcomes) // 5
        assert {box["outcome"] for box in picture["predictions"]} == {"true_positive"}
    whole = world.json("dataset", "browse", "labelled@1", "--limit", "60")
    assert len(pictures) == sum(len(picture["boxes"]) >= 5 for picture in whole)
    assert not world.json("dataset", "browse", "labelled@1", "--outcome", "fp")
    doubtful = world.json("dataset", "show", "doubtful@1")
    assert json.loads(doubtful["parameters_json"])["predictions"]["outcomes"] == ["fp", "fn"]
    unsure = world.json("dataset", "browse", "labelled@2", "--tag", "unsure", "--limit", "60")
    assert len(unsure) == sum(bool(picture["boxes"]) for picture in whole)


def _check_small_pictures(world: LocalWorld) -> None:
    small = list((world.folder / "small").glob("*.jpg"))
    assert len(small) == 12
    assert all(path.read_bytes()[:3] == b"\xff\xd8\xff" for path in small)
    page = (world.folder / "doubtful.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 12
    assert page.count('class="fn" x=') >= 12
    assert not re.search(r"(src|href)=[\"']?https?:|<script", page), "the page needs the network"


def _check_renamed_class(world: LocalWorld, before: dict[str, object]) -> None:
    after = world.json("dataset", "show", "train@1")
    assert after["digest"] == before["digest"]
    counts = [
        {entry["class_name"]: (entry["boxes"], entry["pictures"]) for entry in one["class_counts"]}
        for one in (before, after)
    ]
    rings = counts[0].pop("ring")
    assert counts[1].pop("red ring") == rings
    assert counts[0] == counts[1]
    assert world.json("dataset", "show", "rings@1")["picture_count"] == rings[1]
    first, second = (world.json("model", "show", f"rings@{number}") for number in (1, 2))
    assert set(first["class_names"]) == set(NAMES)
    assert set(second["class_names"]) == {"red ring", *NAMES[1:]}
    assert first["train_version_id"] == second["train_version_id"] == after["id"]
    made = [edge["child"] for edge in world.json("dataset", "lineage", "train@1")["down"]]
    revisions = {node["name"]: int(node["class_map_revision"]) for node in made}
    assert revisions["rings@1"] > 0
    models = {node["class_map_revision"] for node in made if node["type"] == "model_version"}
    assert len(models) == 2, "each training says at which revision of the classes it was made"
    elsewhere = world.json("dataset", "stats", "train@1", "--project", "elsewhere")
    assert [(entry["class_name"], entry["boxes"]) for entry in elsewhere["classes"]] == [("circle", rings[0])]
    up = world.json("dataset", "lineage", "rings@1")["up"]
    assert {edge["parent"]["name"] for edge in up} >= {"train@1", "labelled@1"}
