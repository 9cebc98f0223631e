"""Runs ONNX files in onnxruntime on the CPU."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from lodeworks_runtime.errors import BackendMissingError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RUNTIME = "onnxruntime"
SUFFIX = ".onnx"
_ERRORS_ONLY = 3


def available() -> str | None:
    """Returns None when onnxruntime is here, else the reason and what to install."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "the package is not installed: pip install onnxruntime"
    return None


class OnnxBackend:
    """An ONNX file in onnxruntime."""

    runtime = RUNTIME

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        why = available()
        if why:
            raise BackendMissingError(RUNTIME, why)
        import onnxruntime as ort  # noqa: PLC0415 - a device without ONNX packages need not have it

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Spinning threads take the processor from whoever shares it, the HTTP front for one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path.name} is no ONNX file that onnxruntime can load: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        self.version: str = ort.__version__

    @property
    def input_name(self) -> str:
        """The name of the first input."""
        return str(self._input)

    @property
    def model_info(self) -> dict[str, Any] | None:
        """The description that the file carries under `model_info`, or None; raises ModelError when it is no JSON."""
        text = self._session.get_modelmeta().custom_metadata_map.get("model_info")
        if text is None:
            return None
        try:
            info = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"model_info of the ONNX file is no JSON: {error}") from error
        if not isinstance(info, dict):
            raise ModelError("model_info of the ONNX file is no JSON object")
        return info

    def run(self, blob: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Returns the outputs by name for float32 [1, 3, H, W]; raises ModelError when the network refuses it."""
        try:
            values = self._session.run(self._outputs, {self._input: blob})
        except Exception as error:
            raise ModelError(f"the network refuses an input of {list(blob.shape)}: {error}") from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Lets go of the session."""
        del self._session


def load(path: Path, *, threads: int) -> OnnxBackend:
    """Returns the loaded ONNX file."""
    return OnnxBackend(path, threads=threads)
