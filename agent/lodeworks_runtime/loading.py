"""Finds what runs a network, and loads ONNX files that describe themselves."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from lodeworks_runtime import onnx_backend, openvino_backend, tensorrt_backend
from lodeworks_runtime.algorithm import Algorithm
from lodeworks_runtime.decoders import find_decoder
from lodeworks_runtime.errors import BackendMissingError, ModelError
from lodeworks_runtime.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lodeworks_runtime.backend import Backend

GROUP = "lodeworks.backends"


class BackendModule(Protocol):
    """What a module, ours or one behind an entry point of the group `lodeworks.backends`, offers."""

    RUNTIME: str
    SUFFIX: str

    def available(self) -> str | None:
        """Returns None when the runtime is here, else the reason and what to do."""
        ...

    def load(self, path: Path, *, threads: int) -> Backend:
        """Returns the loaded network."""
        ...


def backends() -> dict[str, str | None]:
    """Returns for each known runtime None when it can run here, else the reason and what to do."""
    return {name: module.available() for name, module in _modules().items()}


def load_onnx(path: Path, *, model_info: Mapping[str, Any] | None = None, threads: int = 1) -> Algorithm:
    """Loads an ONNX file by the description in its metadata, or by `model_info` where that is given."""
    backend = onnx_backend.OnnxBackend(path, threads=threads)
    info = dict(model_info) if model_info is not None else backend.model_info
    if info is None:
        raise ModelError(
            f"{path.name} does not describe itself: it has no metadata `model_info`; "
            "name its input_size, classes and decoder"
        )
    info.setdefault("input_name", backend.input_name)
    recipe = Recipe.from_model_info(info)
    return Algorithm(recipe=recipe, backend=backend, decoder=find_decoder(recipe.decoder))


def find_backend(runtime: str) -> BackendModule:
    """Returns the backend of a runtime; raises BackendMissingError when nobody here knows it."""
    modules = _modules()
    if runtime not in modules:
        raise BackendMissingError(runtime, f"it is not known here: there are {', '.join(sorted(modules))}")
    return modules[runtime]


def _modules() -> dict[str, BackendModule]:
    modules: dict[str, BackendModule] = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    for module in (onnx_backend, openvino_backend, tensorrt_backend):
        modules[module.RUNTIME] = module
    return modules
