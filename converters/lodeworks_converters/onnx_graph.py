"""What the converters need to know of an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnxslim

from lodeworks_converters.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def simplified(path: Path) -> onnx.ModelProto:
    """Returns the model with constants folded, shapes inferred and every node named.

    The metadata stays. Raises ConversionError when the file is no sound ONNX model.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        slim: onnx.ModelProto = onnxslim.slim(model)
    except Exception as error:
        raise ConversionError(f"{path.name} cannot be simplified: {error}") from error
    name_nodes(slim)
    return slim


def name_nodes(model: onnx.ModelProto) -> None:
    """Gives every node without a name one from its first output, so that it can be excluded by name."""
    for node in model.graph.node:
        if not node.name:
            node.name = f"{node.op_type}_{node.output[0]}"


def input_shape(model: onnx.ModelProto) -> tuple[str, tuple[int, int, int]]:
    """Returns the name of the input and its channels, height and width; raises ConversionError when they are open."""
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if len(inputs) != 1:
        raise ConversionError(f"the network has {len(inputs)} inputs: one picture is expected")
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    if len(dims) != 4 or not all(dims[1:]):  # noqa: PLR2004 - N, C, H, W
        raise ConversionError("the network's input is not [N, C, H, W] with fixed C, H and W")
    return inputs[0].name, (dims[1], dims[2], dims[3])


def output_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the names of the outputs in their order."""
    return tuple(output.name for output in model.graph.output)


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the convolutions in the order of the graph."""
    return [node for node in model.graph.node if node.op_type in _CONVOLUTIONS]


def after_heads(model: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the names of the nodes that no convolution follows: decoding, which must stay float."""
    producers: dict[str, onnx.NodeProto] = {name: node for node in model.graph.node for name in node.output}
    before: set[str] = set()
    waiting: list[Any] = convolutions(model)
    while waiting:
        node = waiting.pop()
        for name in node.input:
            producer = producers.get(name)
            if producer is not None and producer.name not in before:
                before.add(producer.name)
                waiting.append(producer)
    return tuple(
        node.name for node in model.graph.node if node.op_type not in _CONVOLUTIONS and node.name not in before
    )


def with_sources(model: onnx.ModelProto, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns convolutions together with what makes their inputs, back to the convolutions before them.

    onnxruntime rounds a tensor where it is made: a layer that shall get float inputs needs float sources.
    """
    nodes = {node.name: node for node in model.graph.node}
    producers: dict[str, onnx.NodeProto] = {name: node for node in model.graph.node for name in node.output}
    found = dict.fromkeys(name for name in names if name in nodes)
    waiting = list(found)
    while waiting:
        for name in nodes[waiting.pop()].input:
            source = producers.get(name)
            if source is not None and source.name not in found:
                found[source.name] = None
                if source.op_type not in _CONVOLUTIONS:
                    waiting.append(source.name)
    return tuple(found)
