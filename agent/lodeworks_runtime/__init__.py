"""From an algorithm package, or an ONNX file that describes itself, to boxes.

There is one path from the bytes of a picture to its boxes, and evaluation, mining, the golden probe and the device all
walk it: `decode_picture` → `letterbox` → one backend, one picture at a time → decoder → non-maximum suppression.
"""

from lodeworks_runtime.algorithm import Algorithm
from lodeworks_runtime.errors import (
    AlgorithmError,
    BackendMissingError,
    ModelError,
    PackageError,
    PictureError,
)
from lodeworks_runtime.letterbox import Letterbox, letterbox
from lodeworks_runtime.loading import backends, load_onnx
from lodeworks_runtime.packages import load_package
from lodeworks_runtime.picture import decode_picture
from lodeworks_runtime.probe import ProbeResult, probe
from lodeworks_runtime.recipe import Recipe, Thresholds

__all__ = [
    "Algorithm",
    "AlgorithmError",
    "BackendMissingError",
    "Letterbox",
    "ModelError",
    "PackageError",
    "PictureError",
    "ProbeResult",
    "Recipe",
    "Thresholds",
    "backends",
    "decode_picture",
    "letterbox",
    "load_onnx",
    "load_package",
    "probe",
]
