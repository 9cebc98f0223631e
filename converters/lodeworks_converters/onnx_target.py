"""The target `onnx`: run by onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats.package import Runtime

from lodeworks_converters.base import Artifact, ArtifactFile, Attempt, what_to_install
from lodeworks_converters.errors import ConversionError, ConverterUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

_FILE = "model.onnx"


class OnnxConverter:
    """Simplified fp32, and int8 as static Q/DQ with unsigned activations and signed weights per channel."""

    target = "onnx"
    precisions: tuple[str, ...] = ("fp32", "int8")

    def available(self, precision: str) -> str | None:
        """Returns None when onnx and onnxruntime are here, else what to install."""
        del precision
        return what_to_install("onnx", "onnxslim", "onnxruntime")

    def convert(
        self, model: Path, *, attempt: Attempt, calibration: Iterable[NDArray[np.float32]], out: Path
    ) -> Artifact:
        """Writes model.onnx; see Converter."""
        why = self.available(attempt.precision)
        if attempt.precision not in self.precisions or why:
            raise ConverterUnavailableError(f"onnx-{attempt.precision}", why or "the precision is not known")
        import onnx  # noqa: PLC0415 - heavy; whoever only lists targets need not have it
        import onnxruntime  # noqa: PLC0415
        import onnxslim  # noqa: PLC0415

        from lodeworks_converters.onnx_graph import output_names, simplified  # noqa: PLC0415

        slim = simplified(model)
        if attempt.precision == "fp32":
            onnx.save(slim, str(out / _FILE))
        else:
            from lodeworks_converters.onnx_quantization import SIGNED_WEIGHTS, quantize  # noqa: PLC0415

            with tempfile.TemporaryDirectory(prefix="lodeworks-onnx-") as work:
                quantize(
                    slim,
                    attempt=attempt,
                    form=SIGNED_WEIGHTS,
                    calibration=calibration,
                    work=Path(work),
                    out=out / _FILE,
                )
        return Artifact(
            files=(ArtifactFile(_FILE, "weights"),),
            runtime=Runtime(name="onnxruntime", min_version="1.17", max_version="2"),
            outputs=output_names(slim),
            tools={
                "onnx": onnx.__version__,
                "onnxslim": onnxslim.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )


def worst_layers(model: Path, quantized: Path, *, calibration: Iterable[NDArray[np.float32]]) -> tuple[str, ...]:
    """Returns the convolutions of `model` by what quantizing each adds to the error, the worst first."""
    from lodeworks_converters.sensitivity import rank_convolutions  # noqa: PLC0415 - heavy

    try:
        return rank_convolutions(model, quantized, calibration=calibration)
    except RuntimeError as error:
        raise ConversionError(f"the layers cannot be compared: {error}") from error
