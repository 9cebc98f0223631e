"""Checks without a GPU that TensorRT would take a quantized graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from lodeworks_converters.onnx_graph import after_heads, convolutions

if TYPE_CHECKING:
    from pathlib import Path

_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})


def lint(path: Path) -> list[str]:
    """Returns what is wrong, one sentence a problem, none when TensorRT would take the graph.

    Every Q/DQ must be int8 with zero point 0, weights per channel on axis 0, and no Q/DQ may stand on decoding.
    """
    model = onnx.load(str(path))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in _PAIR]
    if not pairs:
        return ["the graph holds no Q/DQ pair at all"]
    problems = [problem for node in pairs for problem in _pair_problems(node, constants)]
    problems += _weight_problems(model, constants)
    decoding = set(after_heads(model))
    # The output of a head's last convolution may be quantized; what comes after it must not be.
    values = {
        name for node in model.graph.node if node.name in decoding and node.op_type not in _PAIR for name in node.output
    }
    problems += [
        f"{node.name} quantizes {node.input[0]}, which belongs to decoding"
        for node in pairs
        if node.op_type == "QuantizeLinear" and node.input[0] in values
    ]
    return problems


def _pair_problems(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    if len(node.input) < 3:  # noqa: PLR2004 - value, scale, zero point
        return [f"{node.name} has no zero point and would be uint8"]
    zero = constants.get(node.input[2])
    if zero is None:
        return [f"{node.name} computes its zero point"]
    if zero.data_type != onnx.TensorProto.INT8:
        return [f"{node.name} is {onnx.TensorProto.DataType.Name(zero.data_type)} and not INT8"]
    if np.any(numpy_helper.to_array(zero)):
        return [f"{node.name} has a zero point other than 0"]
    return []


def _weight_problems(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    producers = {name: node for node in model.graph.node for name in node.output}
    problems = []
    for conv in convolutions(model):
        node = producers.get(conv.input[1])
        if node is None or node.op_type != "DequantizeLinear":
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        scale = constants.get(node.input[1])
        if axis != 0 or scale is None or numpy_helper.to_array(scale).ndim != 1:
            problems.append(f"the weights of {conv.name} are not quantized per channel on axis 0")
    return problems
