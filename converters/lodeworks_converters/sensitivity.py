"""Which layers suffer most from quantization."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from lodeworks_converters.onnx_graph import convolutions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_PICTURES = 4
_ERRORS_ONLY = 3


def rank_convolutions(model: Path, quantized: Path, *, calibration: Iterable[NDArray[np.float32]]) -> tuple[str, ...]:
    """Returns the names of the convolutions, the one that adds most error of its own first.

    Compares every convolution's output in the float and in the quantized network on a few pictures; what an input
    brings along of earlier layers' error is taken off, so that the cause ranks before its victims.
    """
    float_nodes = {node.name: node for node in convolutions(onnx.load(str(model)))}
    quant_nodes = {node.name: node for node in convolutions(onnx.load(str(quantized)))}
    names = [name for name in float_nodes if name in quant_nodes]
    reference = _Probe(model, [float_nodes[name] for name in names])
    variant = _Probe(quantized, [quant_nodes[name] for name in names])
    added = np.zeros(len(names))
    for blob in itertools.islice(calibration, _PICTURES):
        for place, (wanted, got) in enumerate(zip(reference.run(blob), variant.run(blob), strict=True)):
            added[place] += _error(wanted[1], got[1]) - _error(wanted[0], got[0])
    return tuple(names[place] for place in np.argsort(-added, kind="stable"))


class _Probe:
    """A network with the inputs and outputs of some of its nodes made visible."""

    def __init__(self, path: Path, nodes: list[onnx.NodeProto]) -> None:
        model = onnx.load(str(path))
        self._wanted = [(node.input[0], node.output[0]) for node in nodes]
        self._input = model.graph.input[0].name
        shown = {output.name for output in model.graph.output} | {self._input}
        for name in dict.fromkeys(itertools.chain.from_iterable(self._wanted)):
            if name not in shown:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, blob: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        values = dict(zip(self._names, self._session.run(self._names, {self._input: blob}), strict=True))
        values[self._input] = blob
        return [(values[before], values[after]) for before, after in self._wanted]


def _error(wanted: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    norm = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(wanted - got)) / norm if norm > 0 else 0.0
