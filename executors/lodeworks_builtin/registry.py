"""The built-in executors by name, and what each needs installed."""

from collections.abc import Mapping
from importlib.util import find_spec

BUILTINS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ingest": ("worker", ("pyarrow", "numpy", "cv2")),
    "export": ("worker", ("pyarrow",)),
    "generate": ("worker", ("pyarrow", "numpy", "cv2")),
    "signals": ("worker", ("pyarrow", "numpy", "cv2")),
    "thumbnails": ("worker", ("pyarrow", "numpy", "cv2")),
    "analyze": ("worker", ("pyarrow", "numpy")),
    "mine": ("worker", ("pyarrow", "numpy", "cv2", "onnxruntime")),
    "infer": ("worker", ("pyarrow", "numpy", "cv2", "onnxruntime")),
    "evaluate": ("evaluation", ("pyarrow", "numpy", "hotcoco")),
    "adopt": ("convert", ("numpy", "cv2", "onnx", "onnxruntime")),
    "convert": ("convert", ("pyarrow", "numpy", "cv2", "onnx", "onnxruntime", "hotcoco")),
}
"""Name of the module with `run(task)` → the extra that brings its libraries, and those libraries."""


def missing_reason(name: str) -> str | None:
    """Returns None when the built-in can run here, else what is missing and which extra brings it."""
    extra, libraries = BUILTINS[name]
    missing = [library for library in libraries if find_spec(library) is None]
    if not missing:
        return None
    return f"{name} needs {', '.join(missing)}; install lodeworks-platform[{extra}] in the environment that runs it"
