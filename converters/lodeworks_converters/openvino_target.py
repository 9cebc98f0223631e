"""The target `openvino`: IR, run by OpenVINO."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks_formats.package import Runtime

from lodeworks_converters.base import Artifact, ArtifactFile, Attempt, what_to_install
from lodeworks_converters.errors import ConversionError, ConverterUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

_FILE = "model.xml"
_WEIGHTS = "model.bin"
_COUNTED = re.compile(r"[A-Za-z]+[._]\d+")


class OpenvinoConverter:
    """fp32, fp16 (weights in half precision) and int8 by NNCF's post-training quantization, for one picture a time."""

    target = "openvino"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")

    def available(self, precision: str) -> str | None:
        """Returns None when OpenVINO (and NNCF for int8) is here, else what to install."""
        wanted = ["onnx", "onnxslim", "openvino", *(["nncf"] if precision == "int8" else [])]
        return what_to_install(*wanted)

    def convert(
        self, model: Path, *, attempt: Attempt, calibration: Iterable[NDArray[np.float32]], out: Path
    ) -> Artifact:
        """Writes model.xml and model.bin; see Converter."""
        why = self.available(attempt.precision)
        if attempt.precision not in self.precisions or why:
            raise ConverterUnavailableError(f"openvino-{attempt.precision}", why or "the precision is not known")
        import onnx  # noqa: PLC0415 - heavy; whoever only lists targets need not have it
        import openvino as ov  # noqa: PLC0415

        from lodeworks_converters.onnx_graph import input_shape, output_names, simplified  # noqa: PLC0415

        slim = simplified(model)
        tools = {"onnx": onnx.__version__, "openvino": ov.__version__.split("-")[0]}
        try:
            with tempfile.TemporaryDirectory(prefix="lodeworks-openvino-") as work:
                source = Path(work) / "model.onnx"
                onnx.save(slim, str(source))
                # Not ov.convert_model: that one sends telemetry, and this one reads ONNX just as well.
                network = ov.Core().read_model(str(source))
            # A fixed batch of one is a tenth faster than an open one.
            network.reshape([1, *input_shape(slim)[1]])
            _renumber(network)
            if attempt.precision == "int8":
                from lodeworks_converters.openvino_quantization import quantize  # noqa: PLC0415

                network, tools["nncf"] = quantize(network, attempt=attempt, calibration=calibration)
                _renumber(network)
            ov.save_model(network, str(out / _FILE), compress_to_fp16=attempt.precision == "fp16")
        except RuntimeError as error:
            raise ConversionError(f"OpenVINO cannot convert the network: {error}") from error
        return Artifact(
            files=(ArtifactFile(_FILE, "weights"), ArtifactFile(_WEIGHTS, "weights")),
            runtime=Runtime(name="openvino", min_version="2024.0", max_version="2028"),
            outputs=output_names(slim),
            tools=tools,
        )


def _renumber(network: Any) -> None:
    """Gives nodes without a name of their own one that depends on the network alone.

    OpenVINO calls them `Constant_7` by a counter of the process, and the IR would differ each time it is made.
    """
    for place, node in enumerate(network.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}.{place}")
