"""Runs OpenVINO IR on the CPU."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from lodeworks_runtime.errors import BackendMissingError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RUNTIME = "openvino"
SUFFIX = ".xml"


def available() -> str | None:
    """Returns None when OpenVINO is here, else the reason and what to install."""
    if importlib.util.find_spec("openvino") is None:
        return "the package is not installed: pip install openvino"
    return None


def compile_options(threads: int) -> dict[str, Any]:
    """Returns the options of compilation.

    The precision is pinned to f32: on processors with bf16 OpenVINO would use that silently, and the same package would
    answer differently from machine to machine. Quantized layers stay int8.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


class OpenvinoBackend:
    """An IR (`.xml` with its `.bin` beside it) in OpenVINO."""

    runtime = RUNTIME

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        why = available()
        if why:
            raise BackendMissingError(RUNTIME, why)
        import openvino as ov  # noqa: PLC0415 - a device without OpenVINO packages need not have it

        try:
            model = ov.Core().compile_model(str(path), "CPU", compile_options(threads))
        except RuntimeError as error:
            raise ModelError(f"{path.name} is no network that OpenVINO can load: {error}") from error
        self._request = model.create_infer_request()
        # OpenVINO makes its table of types at the first question. Two threads that ask first at once wait for each
        # other for ever, one with the interpreter's lock and one with the table's: so it is asked here, by one.
        model.inputs[0].get_element_type().to_dtype()
        # A tensor may have several names after optimization, and any of them may be the one that a decoder looks for.
        self._names = [(name, place) for place, output in enumerate(model.outputs) for name in output.get_names()]
        self.version: str = ov.__version__

    def run(self, blob: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Returns the outputs by name for float32 [1, 3, H, W]; raises ModelError when the network refuses it."""
        try:
            values = self._request.infer(blob, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise ModelError(f"the network refuses an input of {list(blob.shape)}: {error}") from error
        return {name: values[place] for name, place in self._names}

    def close(self) -> None:
        """Lets go of the compiled network."""
        del self._request


def load(path: Path, *, threads: int) -> OpenvinoBackend:
    """Returns the loaded IR."""
    return OpenvinoBackend(path, threads=threads)
