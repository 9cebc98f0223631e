"""ONNX files with the outputs of networks trained elsewhere: seeded, overlapping boxes of several classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (96, 160)
CLASSES = ("ant", "bee", "cat")
STRIDES = (8, 16, 32)
INFO = {
    "yolov5": {},
    "yolov8": {},
    "yolox": {"letterbox": {"fit": "top-left"}, "colour": "bgr", "scale": 1.0, "strides": list(STRIDES)},
    "detr": {
        "letterbox": {"fit": "stretch"},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "nms_iou": 1.0,
    },
    "detections": {"nms_iou": 1.0},
}


def model_info(family: str, **changes: object) -> dict:
    """Returns the description of a family's network."""
    shared = {"input_size": list(SIZE), "classes": list(CLASSES), "decoder": family, "score_threshold": 0.3}
    return {**shared, "nms_iou": 0.5, **INFO[family], **changes}


def places() -> int:
    """Returns how many cells the three levels have together."""
    return sum((SIZE[0] // stride) * (SIZE[1] // stride) for stride in STRIDES)


def made_outputs(family: str, *, seed: int, count: int = 40) -> dict[str, np.ndarray]:
    """Returns the outputs of the family's network: boxes in clusters, so that suppression has work."""
    random = np.random.default_rng(seed)
    count = places() if family == "yolox" else count
    middle = random.uniform((30, 20), (SIZE[1] - 30, SIZE[0] - 20), (6, 2))[random.integers(0, 6, count)]
    centre = (middle + random.normal(0, 3, (count, 2))).astype(np.float32)
    size = random.uniform(20, 50, (count, 2)).astype(np.float32)
    classes = random.uniform(0, 1, (count, len(CLASSES))).astype(np.float32) ** 2
    there = random.uniform(0.2, 1, (count, 1)).astype(np.float32)
    if family == "yolov5":
        return {"output0": np.concatenate([centre, size, there, classes], axis=1)[None]}
    if family == "yolov8":
        return {"output0": np.concatenate([centre, size, classes], axis=1).T[None]}
    if family == "yolox":
        offset = random.normal((0.5, 0.5, 1.0, 1.0), 0.3, (count, 4)).astype(np.float32)
        sparse = there * (random.uniform(0, 1, (count, 1)) < 0.5)
        return {"output": np.concatenate([offset, sparse, classes], axis=1, dtype=np.float32)[None]}
    if family == "detections":
        corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        best = np.stack([there[:, 0], random.integers(0, len(CLASSES), count)], axis=1)
        rows = np.concatenate([corners, best], axis=1)
        return {"output0": np.concatenate([rows, np.zeros((5, 6))], dtype=np.float32)[None]}
    logits = random.normal(0, 2, (1, count, len(CLASSES) + 1)).astype(np.float32)
    return {"logits": logits, "pred_boxes": _fractions(centre, size)}


def _fractions(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    return (np.concatenate([centre, size], axis=1) / np.array([*SIZE[::-1]] * 2)).astype(np.float32)[None]


def save_foreign(path: Path, *, family: str, seed: int = 0, info: dict | None = None) -> Path:
    """Writes a network of the family that gives `made_outputs` for every picture."""
    outputs = made_outputs(family, seed=seed)
    nodes, weights = [], [numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    nodes.append(helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for name, value in outputs.items():
        weights.append(numpy_helper.from_array(value, f"{name}_made"))
        nodes.append(helper.make_node("Add", [f"{name}_made", "nothing"], [name]))
    graph = helper.make_graph(
        nodes,
        family,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if info is not None:
        helper.set_model_props(model, {"model_info": json.dumps(info)})
    onnx.save(model, path)
    return path
