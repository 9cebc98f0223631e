"""Trainings of the detector that take seconds: made pictures of discs and squares, a tiny network, its real program."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lodeworks_formats.annotations.ark import render_ark
from lodeworks_formats.boxes import Box
from lodeworks_formats.protocol import Environment, render_config, render_environment, render_index

SIDE = 64
NAMES = ["disc", "square"]
TINY = {"model_width": 0.5, "batch_size": 8, "threads": 1, "precision": "float32", "checkpoint_interval_s": 0}

Lines = list[tuple[str, str]]
"""Pictures and their annotations, as lines of an index."""


def picture(number: int) -> tuple[np.ndarray, list[Box]]:
    """Returns noise with one to three shapes, and their boxes."""
    random = np.random.default_rng(number)
    image = random.integers(60, 110, (SIDE, SIDE, 3), dtype=np.uint8)
    boxes = []
    for slot in random.permutation(4)[: random.integers(1, 4)]:
        side = int(random.integers(14, 28))
        x, y = int(slot % 2) * 32 + int(random.integers(0, 32 - side)), int(slot // 2) * 32 + 2
        name = NAMES[int(random.integers(2))]
        if name == "square":
            cv2.rectangle(image, (x, y), (x + side - 1, y + side - 1), (40, 40, 230), -1)
        else:
            cv2.circle(image, (x + side // 2, y + side // 2), side // 2, (60, 220, 60), -1)
        boxes.append(Box(name, x, y, side, side))
    return image, boxes


def write_pictures(folder: Path, *, count: int) -> Lines:
    """Writes made pictures and their annotations."""
    lines = []
    for number in range(count):
        image, boxes = picture(number)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        note = folder / f"{number}.txt"
        note.write_text(render_ark(boxes, class_names=NAMES, width=SIDE, height=SIDE))
        lines.append((str(folder / f"{number}.png"), str(note)))
    return lines


def lay_out(root: Path, *, training: Lines, validation: Lines, **settings: Any) -> Path:
    """Lays out a training in a folder of its own and returns its env.yaml."""
    (root / "in").mkdir(parents=True)
    environment = Environment.at(
        "t1", operations={"training"}, input_root=str(root / "in"), output_root=str(root / "out")
    )
    (root / "in/env.yaml").write_text(render_environment(environment))
    config = {"task_id": "t1", "class_names": NAMES, "gpu_id": "", "export_format": "ark:raw", **TINY, **settings}
    (root / "in/config.yaml").write_text(render_config(config))
    (root / "in/train-index.tsv").write_text(render_index(training))
    (root / "in/val-index.tsv").write_text(render_index(validation))
    return root / "in/env.yaml"


def start(env_file: Path) -> subprocess.Popen[str]:
    """Starts the detector's program."""
    return subprocess.Popen(
        [sys.executable, "-m", "lodeworks_detector"],
        env={**os.environ, "LODE_ENV_FILE": str(env_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[Any], *, limit_s: float = 60.0) -> None:
    """Waits until a file is there, while the process runs."""
    deadline = time.monotonic() + limit_s
    while not path.exists():
        assert process.poll() is None, process.stdout.read() if process.stdout else f"it ended before {path}"
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
