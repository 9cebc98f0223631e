"""A tiny network with our ONNX contract, written by hand: it finds squares of pure red, green or blue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("red", "green", "blue")
SIDE = 32
STRIDE = 8
SIZE = (96, 128)


def made_picture(seed: int, *, size: tuple[int, int] = SIZE, count: int = 2):
    """Returns a noisy grey picture (blue first) and the (class, x, y, w, h) of the squares in it."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (*size, 3)).astype(np.uint8)
    squares = []
    cells = [(r, c) for r in range(size[0] // 40) for c in range(size[1] // 40)]
    for row, column in random.permutation(cells)[:count]:
        x = int(column) * 40 + int(random.integers(0, 8))
        y = int(row) * 40 + int(random.integers(0, 8))
        which = int(random.integers(0, 3))
        colour = [20, 20, 20]
        colour[2 - which] = 235
        image[y : y + SIDE, x : x + SIDE] = colour
        squares.append((CLASSES[which], x, y, SIDE, SIDE))
    return image, squares


def encoded(image, extension: str = ".png") -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


def model_info(**changes) -> dict:
    info = {
        "input_size": list(SIZE),
        "letterbox": {"pad": 114, "resample": "area"},
        "colour": "rgb",
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "classes": list(CLASSES),
        "decoder": "lodeworks",
        "score_threshold": 0.25,
        "nms_iou": 0.3,
        "max_detections": 300,
        "strides": [STRIDE],
    }
    return {**info, **changes}


def save_network(path: Path, *, info: dict | None = None, with_embedding: bool = True, trap: str = "") -> Path:
    """Writes the network; its scores say how much of one pure colour a square of 32 pixels holds.

    A `trap` makes some channels thousands of times larger than those that matter, so that these are lost when one range
    must hold both: in the first layer only ("first"), or in every one ("all").
    """
    weights: list = []
    nodes: list = []

    def constant(name, value):
        weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=f"/{output}/{op}", **attributes))
        return output

    _body(node, constant, trap=trap)
    _heads(node, constant)
    outputs = [("scores", ["N", "A", len(CLASSES)]), ("boxes", ["N", "A", 4])]
    if with_embedding:
        node("ReduceMean", ["body"], "embedding", axes=[2, 3], keepdims=0)
        outputs.append(("embedding", ["N", 6]))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, *SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"model_info": json.dumps(info or model_info())})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _body(node, constant, *, trap: str) -> None:
    # Colour opponents, twice halved, then the mean of a square around each place at stride 8.
    first = np.zeros((6, 3, 3, 3), np.float32)
    for colour in range(3):
        first[colour, :, 1, 1] = -0.5
        first[colour, colour, 1, 1] = 1.0
        first[3 + colour, colour] = 1 / 9
    second = np.zeros((6, 6, 2, 2), np.float32)
    square = np.zeros((6, 6, 8, 8), np.float32)
    for channel in range(6):
        second[channel, channel] = 1 / 4
        square[channel, channel] = 1 / 64
    if trap:
        first[3:] *= 5000
    if trap == "first":
        second[:, 3:] /= 5000
    node("Conv", ["images", constant("w1", first)], "c1", strides=[2, 2], pads=[0, 0, 1, 1], kernel_shape=[3, 3])
    node("Relu", ["c1"], "r1")
    node("Conv", ["r1", constant("w2", second)], "c2", strides=[2, 2], kernel_shape=[2, 2])
    node("Relu", ["c2"], "r2")
    node("Conv", ["r2", constant("w3", square)], "c3", strides=[2, 2], pads=[3, 3, 3, 3], kernel_shape=[8, 8])
    node("Relu", ["c3"], "body")


def _heads(node, constant) -> None:
    height, width = SIZE[0] // STRIDE, SIZE[1] // STRIDE
    classify = np.zeros((3, 6, 1, 1), np.float32)
    for colour in range(3):
        classify[colour, colour] = 20.0
    node("Conv", ["body", constant("wc", classify), constant("bc", np.full(3, -8.0, np.float32))], "logits")
    node("Reshape", ["logits", constant("sc", np.array([0, 3, -1], np.int64))], "flat")
    node("Transpose", ["flat"], "rows", perm=[0, 2, 1])
    node("Sigmoid", ["rows"], "scores")
    side = np.full(4, np.log(np.expm1(SIDE / 2 / STRIDE)), np.float32)
    node("Conv", ["body", constant("wb", np.zeros((4, 6, 1, 1), np.float32)), constant("bb", side)], "sides")
    node("Reshape", ["sides", constant("sb", np.array([0, 4, -1], np.int64))], "sides_flat")
    node("Transpose", ["sides_flat"], "sides_rows", perm=[0, 2, 1])
    node("Softplus", ["sides_rows"], "positive")
    node("Mul", ["positive", constant("signs", np.array([-STRIDE, -STRIDE, STRIDE, STRIDE], np.float32))], "offsets")
    ys, xs = np.meshgrid(np.arange(height) * STRIDE + STRIDE / 2, np.arange(width) * STRIDE + STRIDE / 2, indexing="ij")
    centres = np.stack([xs.ravel(), ys.ravel(), xs.ravel(), ys.ravel()], axis=1)[None].astype(np.float32)
    node("Add", ["offsets", constant("centres", centres)], "boxes")
