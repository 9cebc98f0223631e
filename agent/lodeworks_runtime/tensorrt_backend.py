"""TensorRT: says whether it could run here; engines are built on the device in a later step."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import TYPE_CHECKING

from lodeworks_runtime.errors import BackendMissingError

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_runtime.backend import Backend

RUNTIME = "tensorrt"
SUFFIX = ".onnx"
_DRIVER = "libcuda.so.1"


def gpu_count() -> int:
    """Returns how many GPUs the CUDA driver offers; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def available() -> str | None:
    """Returns None when engines can be built and run here, else the reason and what to do.

    The GPU is looked for first: without one TensorRT answers with `TypeError: factory function returned nullptr`.
    """
    if gpu_count() == 0:
        return (
            f"no NVIDIA GPU answers (the driver {_DRIVER} finds none): use an ONNX or OpenVINO package on this machine"
        )
    if importlib.util.find_spec("tensorrt") is None:
        return "the package is not installed: pip install tensorrt (its libraries come from NVIDIA's index)"
    return None


def load(path: Path, *, threads: int) -> Backend:
    """Refuses, with the reason: this release builds no engines yet."""
    del path, threads
    raise BackendMissingError(
        RUNTIME, available() or "this release does not build engines yet: take the ONNX package of the same release"
    )
