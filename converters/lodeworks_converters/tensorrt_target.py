"""The target `tensorrt`: an ONNX file and a recipe, of which the device builds its engine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats.package import Runtime
from lodeworks_runtime import tensorrt_backend

from lodeworks_converters.base import Artifact, ArtifactFile, Attempt, what_to_install
from lodeworks_converters.errors import ConversionError, ConverterUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import onnx
    from numpy.typing import NDArray

_FILE = "model.onnx"
_RECIPE = "build.json"


class TensorrtConverter:
    """fp16, and int8 as explicit symmetric Q/DQ: TensorRT 11 knows neither precision flags nor calibrators."""

    target = "tensorrt"
    precisions: tuple[str, ...] = ("fp16", "int8")

    def available(self, precision: str) -> str | None:
        """Returns None when an engine could be built and measured here, else the reason and what to do.

        The files can be made and linted anywhere, but nothing is shipped unmeasured.
        """
        del precision
        return what_to_install("onnx", "onnxslim", "onnxruntime") or tensorrt_backend.available()

    def convert(
        self, model: Path, *, attempt: Attempt, calibration: Iterable[NDArray[np.float32]], out: Path
    ) -> Artifact:
        """Writes model.onnx and build.json; needs no GPU. See Converter."""
        if attempt.precision not in self.precisions:
            raise ConverterUnavailableError(f"tensorrt-{attempt.precision}", "the precision is not known")
        import onnx  # noqa: PLC0415 - heavy; whoever only lists targets need not have it
        import onnxruntime  # noqa: PLC0415

        from lodeworks_converters.onnx_graph import input_shape, output_names, simplified  # noqa: PLC0415

        slim = simplified(model)
        if attempt.precision == "int8":
            self._quantize(slim, attempt=attempt, calibration=calibration, out=out / _FILE)
        else:
            _save_half(slim, out / _FILE)
        name, shape = input_shape(slim)
        recipe = {"strongly_typed": True, "precision": attempt.precision, "input": name, "shape": [1, *shape]}
        (out / _RECIPE).write_text(json.dumps(recipe, sort_keys=True, separators=(",", ":")), encoding="utf-8")
        return Artifact(
            files=(ArtifactFile(_FILE, "weights"), ArtifactFile(_RECIPE, "config")),
            runtime=Runtime(name="tensorrt", min_version="10.0"),
            outputs=output_names(slim),
            tools={"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        )

    def _quantize(
        self,
        slim: onnx.ModelProto,
        *,
        attempt: Attempt,
        calibration: Iterable[NDArray[np.float32]],
        out: Path,
    ) -> None:
        from lodeworks_converters.onnx_quantization import SYMMETRIC, quantize  # noqa: PLC0415 - heavy
        from lodeworks_converters.tensorrt_lint import lint  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="lodeworks-tensorrt-") as work:
            quantize(slim, attempt=attempt, form=SYMMETRIC, calibration=calibration, work=Path(work), out=out)
        problems = lint(out)
        if problems:
            raise ConversionError(f"TensorRT would not build this graph: {'; '.join(problems[:3])}")


def _save_half(model: onnx.ModelProto, path: Path) -> None:
    import onnx  # noqa: PLC0415 - heavy
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    from lodeworks_converters.onnx_graph import after_heads  # noqa: PLC0415

    half = convert_float_to_float16(model, keep_io_types=True, node_block_list=list(after_heads(model)))
    onnx.save(half, str(path))
