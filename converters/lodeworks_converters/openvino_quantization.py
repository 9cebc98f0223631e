"""Post-training quantization of OpenVINO networks by NNCF."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from lodeworks_converters.base import PERCENTILE, Attempt
from lodeworks_converters.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

# Decoding: softplus and sigmoid of the heads, centres minus distances, the mean of the embedding.
_FLOAT_TYPES = ("SoftPlus", "Subtract", "Sigmoid", "ReduceMean", "Transpose")
_OUTLIERS = 1e-4


def quantize(network: Any, *, attempt: Attempt, calibration: Iterable[NDArray[np.float32]]) -> tuple[Any, str]:
    """Returns the quantized network and the version of NNCF.

    Activations are asymmetric where the graph lets them (preset mixed), weights symmetric per channel.
    """
    arrays = list(calibration)
    if not arrays:
        raise ConversionError("quantizing needs calibration pictures: name a dataset that has some")
    nncf = _nncf()
    advanced = None
    if attempt.calibration == PERCENTILE:
        advanced = nncf.AdvancedQuantizationParameters(activations_range_estimator_params=_percentile())
    try:
        quantized = nncf.quantize(
            network,
            nncf.Dataset(arrays),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(arrays),
            fast_bias_correction=not attempt.accurate_bias,
            ignored_scope=nncf.IgnoredScope(
                types=list(_FLOAT_TYPES), names=_friendly_names(network, attempt.keep_float), validate=False
            ),
            advanced_parameters=advanced,
        )
    except Exception as error:
        raise ConversionError(f"NNCF cannot quantize the network: {error}") from error
    return quantized, str(nncf.__version__)


def _friendly_names(network: Any, convolutions: tuple[str, ...]) -> list[str]:
    """Returns the network's own names of ONNX convolutions: OpenVINO splits the bias off as a node of its own."""
    wanted = {name for convolution in convolutions for name in (convolution, f"{convolution}/WithoutBiases")}
    return [node.get_friendly_name() for node in network.get_ops() if node.get_friendly_name() in wanted]


def _percentile() -> Any:
    from nncf.quantization.range_estimator import (  # noqa: PLC0415 - heavy
        RangeEstimatorParameters,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    collector = StatisticsCollectorParameters(statistics_type=StatisticsType.QUANTILE, quantile_outlier_prob=_OUTLIERS)
    return RangeEstimatorParameters(min=collector, max=collector)


def _nncf() -> Any:
    """Returns the module nncf, imported without its telemetry: it would call home from a factory's network."""
    if "nncf" not in sys.modules:
        had = sys.modules.get("openvino_telemetry")
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes the import fail, which NNCF allows
        try:
            import nncf  # noqa: PLC0415 - heavy, and only here
        finally:
            del sys.modules["openvino_telemetry"]
            if had is not None:
                sys.modules["openvino_telemetry"] = had
        nncf.set_log_level(logging.WARNING)
    return sys.modules["nncf"]
