"""The blood cells of BCCD as the detector's own program gets them: laid out, trained on, measured on the test part."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodeworks_evaluation.coco import coco_scores
from lodeworks_evaluation.columns import columns
from lodeworks_formats.annotations.voc import parse_voc
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import Environment, render_config, render_environment, render_index
from lodeworks_formats.ymir_results import parse_training_result
from lodeworks_runtime import Algorithm, decode_picture
from lodeworks_runtime.recipe import Thresholds

CLASSES = ("RBC", "WBC", "Platelets")
THRESHOLDS = Thresholds(score=0.01, nms_iou=0.6, max_detections=300, candidates=2000)
_VALIDATION_EVERY = 5

Pair = tuple[Path, Path]
"""A picture and its annotation."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The pictures: every fifth of `bccd-trainval` validates, the others train, `bccd-test` is kept for the end."""

    training: Sequence[Pair]
    validation: Sequence[Pair]
    test: Sequence[Pair]

    @classmethod
    def unpacked(cls, data: Path, *, into: Path) -> "Cells":
        """Unpacks both archives of a folder."""
        for name in ("bccd-trainval", "bccd-test"):
            with zipfile.ZipFile(data / f"{name}.zip") as archive:
                archive.extractall(into)
        pairs = list(_pairs(into / "bccd-trainval"))
        return cls(
            training=[pair for place, pair in enumerate(pairs) if place % _VALIDATION_EVERY],
            validation=pairs[::_VALIDATION_EVERY],
            test=list(_pairs(into / "bccd-test")),
        )


def _pairs(folder: Path) -> Iterator[Pair]:
    for picture in sorted((folder / "images").iterdir()):
        yield picture, folder / "gt" / f"{picture.stem}.xml"


def lay_out(root: Path, cells: Cells, *, class_names: Sequence[str] = CLASSES, **settings: Any) -> Path:
    """Lays out a training as the platform does and returns its env.yaml."""
    (root / "in").mkdir(parents=True)
    environment = Environment.at(
        "t1", operations={"training"}, input_root=str(root / "in"), output_root=str(root / "out")
    )
    (root / "in/env.yaml").write_text(render_environment(environment))
    config = {"task_id": "t1", "class_names": list(class_names), "gpu_id": "", "export_format": "voc:raw", **settings}
    (root / "in/config.yaml").write_text(render_config(config))
    for name, pairs in (("train", cells.training), ("val", cells.validation)):
        lines = [(str(picture), str(note)) for picture, note in pairs]
        (root / f"in/{name}-index.tsv").write_text(render_index(lines))
    return root / "in/env.yaml"


def start(env_file: Path) -> subprocess.Popen[bytes]:
    """Starts the detector's program; its log lies beside /in."""
    with (env_file.parents[1] / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lodeworks_detector"],
            env={**os.environ, "LODE_ENV_FILE": str(env_file)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def train(env_file: Path) -> tuple[float, float]:
    """Runs a training to its end; returns processor time (s) and greatest memory (MiB) of the whole process."""
    process = start(env_file)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (env_file.parents[1] / "log").read_text()[-4000:]
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def last_stage(root: Path) -> Path:
    """Returns the folder of the stage that a training ended with: its running mean, whether or not it is the best."""
    result = parse_training_result((root / "out/models/result.yaml").read_text())
    return root / "out/models" / max(result.stages, key=lambda stage: int(stage.name.removeprefix("epoch_"))).name


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a network is: mAP over IoU 0.50:0.95, mAP at 0.5, and that of each class."""

    ap: float
    ap50: float
    classes: dict[str, float]


def measure(algorithm: Algorithm, pairs: Sequence[Pair]) -> Quality:
    """Measures an algorithm on annotated pictures."""
    pictures, predictions = [], {}
    for path, note in pairs:
        digest = sha256_hex(path.stem.encode())
        truth = parse_voc(note.read_bytes(), file=note.name).boxes
        pictures.append(Picture(digest=digest, extension="jpg", width=0, height=0, boxes=truth))
        found = algorithm.detect(decode_picture(path.read_bytes()), thresholds=THRESHOLDS)
        predictions[digest] = tuple(algorithm.boxes(found))
    scores = coco_scores(columns(pictures, predictions, class_names=CLASSES))
    return Quality(
        ap=scores.ap or 0.0,
        ap50=scores.ap50 or 0.0,
        classes={name: one.ap50 or 0.0 for name, one in scores.per_class.items()},
    )


class Remembered:
    """Answers kept in a file, so that an interrupted series of trainings goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns what was kept, or None."""
        return self._all().get(key)

    def keep(self, key: str, value: dict[str, Any]) -> None:
        """Keeps an answer; the file is whole at any moment."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({**self._all(), key: value}, indent=1) + "\n")
        new.replace(self._path)

    def _all(self) -> dict[str, dict[str, Any]]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}


def remove(root: Path) -> None:
    """Removes a training."""
    shutil.rmtree(root, ignore_errors=True)
