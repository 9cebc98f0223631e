"""Networks that their family's own programs exported, against what the family's own code makes of the same input.

The programs are no dependency of ours. LODE_TEST_EXPORTERS names interpreters, with colons between, that have some of
them (`pip install ultralytics transformers torchvision`); without it this interpreter is asked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builtin_world import BuiltinWorld
from lodeworks_builtin.adopt import run
from lodeworks_formats.task_inputs import AdoptOptions
from lodeworks_runtime import load_onnx

PYTHONS = os.environ.get("LODE_TEST_EXPORTERS", sys.executable).split(":")
PROGRAM = Path(__file__).parents[1] / "world/family_exports.py"
SIZE = (96, 160)


def _python_with(module: str) -> str:
    """Returns the first interpreter that has a module; skips the test where none has it."""
    for python in PYTHONS:
        asked = subprocess.run([python, "-c", f"import torch, {module}"], capture_output=True, timeout=100, check=False)
        if asked.returncode == 0:
            return python
    pytest.skip(f"no interpreter has {module}; name one that has it in LODE_TEST_EXPORTERS")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "module", "options"),
    [
        ("yolov8n.yaml", "ultralytics", {}),
        ("yolo11n.yaml", "ultralytics", {}),
        ("yolos", "transformers", {"decoder": "detr", "class_names": ("ant", "bee", "cat")}),
        ("ssdlite", "torchvision", {"decoder": "detections", "class_names": ("ant", "bee", "cat")}),
    ],
)
def test_an_export_answers_as_its_family_does(tmp_path, kind, module, options):
    python = _python_with(module)
    world = BuiltinWorld(tmp_path)
    noise = np.random.default_rng(3).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    scaled = noise[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    if module == "transformers":
        mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        scaled = ((scaled - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))).astype(np.float32)
    np.save(tmp_path / "input.npy", scaled)
    made = subprocess.run(
        [python, str(PROGRAM), kind, str(tmp_path)], capture_output=True, text=True, timeout=250, check=False
    )
    assert made.returncode == 0, made.stderr[-2000:]
    world.put("model/net.onnx", (tmp_path / "model.onnx").read_bytes())
    world.put("options", AdoptOptions(score_threshold=0.3, nms_iou=1.0 if options else 0.5, **options).to_bytes())
    run(world.task())
    algorithm = load_onnx(world.output("stage/imported/model.onnx"))
    found = [
        (algorithm.classes.index(box.class_name), box.score, (box.x, box.y, box.x2, box.y2))
        for box in algorithm.predict([noise])[0]
    ]
    wanted = [
        (which, score, np.clip(corners, 0, [SIZE[1], SIZE[0]] * 2))
        for which, score, corners in json.loads((tmp_path / "answer.json").read_text())
    ]
    # Scores at the threshold and overlaps at the limit fall to either side in another runtime.
    assert len(wanted) >= 3
    for some, others in ((wanted, found), (found, wanted)):
        assert sum(any(_same(one, other) for other in others) for one in some) >= 0.95 * len(some)


def _same(one, other) -> bool:
    return one[0] == other[0] and abs(one[1] - other[1]) <= 1e-3 and np.allclose(one[2], other[2], rtol=0, atol=0.05)
