"""A program of one's own as an executor, without docker, on outlines that come in, go through and come out again."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bad_sources import archive
from local_installation import LocalWorld
from made_network import encoded, made_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).parents[1] / "world/masking_executor.py"
POLYGON = [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 12.5, 60.0]]
MASK = {"size": [90, 140], "counts": [930, 20, 70, 20, 11560]}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorld]:
    """An installation whose worker offers the program twice: as ours are started, and with the real /in and /out."""
    world = LocalWorld(tmp_path_factory.mktemp("world"))
    (world.state / "worker").mkdir(parents=True)
    command = json.dumps([sys.executable, str(PROGRAM)])
    fixed = json.dumps([sys.executable, str(PROGRAM), "fixed"])
    (world.state / "worker" / "worker.toml").write_text(
        f"[executors.masks]\ncommand = {command}\n[executors.fixed]\ncommand = {fixed}\nprivate_mounts = true\n"
    )
    world.up()
    templates = world.folder / "templates"
    templates.mkdir()
    (templates / "training-template.yaml").write_text("export_format: seg-coco:raw\n")
    (templates / "infer-template.yaml").write_text("")
    for name in ("masks", "fixed"):
        world.lode("executor", "add", name, "--program", "--templates", templates)
    world.lode("class", "add", "cell")
    world.lode("dataset", "import", archive(world.folder / "outlined.zip", _outlined()), "--to", "outlined")
    yield world
    world.down()


def _outlined() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    images, annotations = [], []
    for seed in range(3):
        image, _ = made_picture(seed, size=(90, 140), count=2)
        files[f"images/{seed}.png"] = encoded(image)
        images.append({"id": seed, "file_name": f"{seed}.png", "width": 140, "height": 90})
        shape = MASK if seed == 2 else POLYGON
        annotations.append({"id": seed, "image_id": seed, "category_id": 1, "segmentation": shape, "iscrowd": 0})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    files["annotations/instances.json"] = json.dumps(document)
    return files


def _private_mounts_refused() -> str:
    asked = subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False)
    return asked.stderr.decode().strip() if asked.returncode else ""


def test_outlines_come_out_of_an_export_as_they_went_in(world: LocalWorld):
    world.lode("dataset", "export", "outlined", world.folder / "coco.zip", "--format", "coco")
    with zipfile.ZipFile(world.folder / "coco.zip") as exported:
        (name,) = [name for name in exported.namelist() if name.endswith(".json")]
        document = json.loads(exported.read(name))
    assert sorted(json.dumps(one["segmentation"]) for one in document["annotations"]) == sorted(
        map(json.dumps, (POLYGON, POLYGON, MASK))
    )
    world.lode("dataset", "import", world.folder / "coco.zip", "--to", "again")
    with world.client() as client:
        first, again = (list(client.project().datasets.get(name).pictures()) for name in ("outlined", "again"))
    assert [(one.digest, one.boxes[0].shape) for one in again] == [(one.digest, one.boxes[0].shape) for one in first]


@pytest.mark.parametrize("executor", ["masks", "fixed"])
def test_a_program_trains_on_outlines_and_answers_with_them(world: LocalWorld, executor: str):
    if executor == "fixed" and (refusal := _private_mounts_refused()):
        pytest.skip(f"this kernel refuses private mount namespaces: {refusal}")
    trained = world.json(
        *("model", "train", "--train", "outlined", "--val", "outlined", "-n", executor, "--executor", executor)
    )
    assert trained["stages"][0]["metrics"]["maskAP"] == 0.75
    said = world.lode("model", "show", executor)
    assert "last (maskAP 0.750) recommended" in said.out
    assert "mAP50" not in said.out
    world.lode("model", "infer", executor, "--on", "outlined")
    with world.client() as client:
        datasets = client.project().datasets
        predicted = next(iter(datasets.prediction_sets("outlined"))).id
        pictures = list(datasets.get("outlined").pictures(prediction_set_id=predicted))
    assert sorted(box.shape for picture in pictures for box in picture.boxes) == sorted(
        map(_text, (POLYGON, POLYGON, MASK))
    )
    assert {box.shape for picture in pictures for box in picture.predictions} <= {_text(POLYGON), _text(MASK)}
    assert sum(len(picture.predictions) for picture in pictures) == 3
    out = world.folder / f"{executor}.zip"
    world.lode("dataset", "export", "outlined", out, "--predictions", predicted)
    with zipfile.ZipFile(out) as exported:
        found = [name for name in exported.namelist() if name.startswith("pred/") and name.endswith(".xml")]
        assert ["<shape>" in exported.read(name).decode() for name in found] == [True] * 3
    assert not Path("/in/env.yaml").exists()


def _text(shape: object) -> str:
    return json.dumps(shape, separators=(",", ":"))
