"""Static quantization of ONNX graphs by onnxruntime."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from lodeworks_converters.base import PERCENTILE, Attempt
from lodeworks_converters.errors import ConversionError
from lodeworks_converters.onnx_graph import after_heads, input_shape, name_nodes, with_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Relu is in the list so that its clamp becomes part of the quantization before it: without it each convolution is
# followed by two conversions and a float Relu (4.8 ms instead of 4.1 for the default detector).
_QUANTIZED = ("Conv", "MaxPool", "Add", "Concat", "Resize", "Relu")
# onnxruntime keeps every activation of every picture in memory for its histograms: 24 pictures are about 0.5 GB.
_HISTOGRAM_PICTURES = 24


@dataclass(frozen=True, slots=True)
class Form:
    """How numbers are represented: what a backend runs fast differs."""

    activations: QuantType
    symmetric_activations: bool
    float_bias: bool
    percentile: float


SIGNED_WEIGHTS = Form(QuantType.QUInt8, symmetric_activations=False, float_bias=False, percentile=99.99)
"""U8S8, for onnxruntime on CPUs."""

SYMMETRIC = Form(QuantType.QInt8, symmetric_activations=True, float_bias=True, percentile=99.995)
"""S8S8 with zero points of 0, for TensorRT. Never for a CPU: slower than fp32 and less accurate there."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, name: str, arrays: Iterator[NDArray[np.float32]]) -> None:
        self._name = name
        self._arrays = arrays

    def get_next(self) -> dict[str, Any] | None:
        array = next(self._arrays, None)
        return None if array is None else {self._name: array}


def quantize(
    model: onnx.ModelProto,
    *,
    attempt: Attempt,
    form: Form,
    calibration: Iterable[NDArray[np.float32]],
    work: Path,
    out: Path,
) -> None:
    """Writes the quantized model to `out`, with temporary files in `work`.

    Everything after the last convolution of each head stays float, and so do the convolutions that the attempt names.
    """
    name, _ = input_shape(model)
    source, prepared = work / "source.onnx", work / "prepared.onnx"
    onnx.save(model, str(source))
    arrays = iter(calibration)
    if attempt.calibration == PERCENTILE:
        arrays = itertools.islice(arrays, _HISTOGRAM_PICTURES)
    first = next(arrays, None)
    if first is None:
        raise ConversionError("quantizing needs calibration pictures: name a dataset that has some")
    try:
        # The symbolic inference gives up on exported detectors ("Incomplete symbolic shape inference").
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared))
        name_nodes(graph)
        onnx.save(graph, str(prepared))
        quantize_static(
            str(prepared),
            str(out),
            _Reader(name, itertools.chain([first], arrays)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=form.activations,
            calibrate_method=CalibrationMethod.Percentile
            if attempt.calibration == PERCENTILE
            else CalibrationMethod.MinMax,
            nodes_to_exclude=[*after_heads(graph), *with_sources(graph, attempt.keep_float)],
            extra_options={
                "WeightSymmetric": True,
                "ActivationSymmetric": form.symmetric_activations,
                "QuantizeBias": not form.float_bias,
                "CalibPercentile": form.percentile,
            },
        )
    except Exception as error:
        raise ConversionError(f"onnxruntime cannot quantize the network: {error}") from error
