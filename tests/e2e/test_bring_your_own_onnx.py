"""Types what docs/bring-your-own-onnx.md tells a person to type who has a network from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from bad_sources import archive
from documented_commands import ROOT, steps
from foreign_networks import CLASSES, save_foreign
from local_installation import LocalWorld
from made_network import encoded, made_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/bring-your-own-onnx.md"
STEPS = steps(PAGE)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    """A home with two networks and some labelled pictures in it."""
    world = LocalWorld(tmp_path)
    world.environment["PATH"] = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    world.state = tmp_path / ".local/share/lodeworks"
    save_foreign(tmp_path / "detr.onnx", family="detr")
    yolo = onnx.load(save_foreign(tmp_path / "yolo.onnx", family="yolov8"))
    names = dict(enumerate(CLASSES))
    onnx.helper.set_model_props(yolo, {"names": str(names), "task": "detect", "end2end": "False"})
    onnx.save(yolo, tmp_path / "yolo.onnx")
    archive(tmp_path / "ants.zip", _labelled())
    yield world
    world.down()


def _labelled() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for seed in range(4):
        image, squares = made_picture(seed, size=(90, 140), count=2)
        boxes = "".join(
            f"<object><name>{CLASSES[seed % 3]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for _, x, y, w, h in squares
        )
        files[f"images/{seed}.png"] = encoded(image)
        files[f"gt/{seed}.xml"] = f"<annotation>{boxes}</annotation>"
    return files


@pytest.mark.timeout(300)
def test_the_page_can_be_typed(world: LocalWorld):
    assert len(STEPS) >= 11
    for step in STEPS:
        done = subprocess.run(
            ["bash", "-c", step.command],
            env=world.environment,
            cwd=world.folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == step.code, f"{PAGE.name}:{step.line}: {step.command} → {done.returncode}\n{said}"
        for shown in step.shown:
            assert " ".join(shown.split()) in " ".join(said.split()), f"{PAGE.name}:{step.line}: {shown}\n{said}"
    assert world.json("model", "show", "yolo@1")["class_names"] == list(CLASSES)
    assert world.json("algorithm", "show", "yolo@1")["packages"]
