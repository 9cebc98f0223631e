"""Converters by target: our own, and those that installed packages offer as entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lodeworks_converters.errors import ConverterUnavailableError
from lodeworks_converters.onnx_target import OnnxConverter
from lodeworks_converters.openvino_target import OpenvinoConverter
from lodeworks_converters.tensorrt_target import TensorrtConverter

if TYPE_CHECKING:
    from lodeworks_converters.base import Converter

GROUP = "lodeworks.converters"


def converters() -> dict[str, Converter]:
    """Returns every converter by its target; ours win over an entry point of the same name."""
    offered: list[Converter] = [entry.load()() for entry in entry_points(group=GROUP)]
    ours: list[Converter] = [OnnxConverter(), OpenvinoConverter(), TensorrtConverter()]
    return {converter.target: converter for converter in (*offered, *ours)}


def find_converter(target: str, *, precision: str) -> Converter:
    """Returns the converter of a target that makes a precision here.

    Raises ConverterUnavailableError that says what there is, or what to install.
    """
    known = converters()
    variant = f"{target}-{precision}"
    converter = known.get(target)
    if converter is None:
        raise ConverterUnavailableError(variant, f"the target is not known; there are {', '.join(sorted(known))}")
    if precision not in converter.precisions:
        raise ConverterUnavailableError(
            variant, f"the precision is not known for {target}; there are {', '.join(converter.precisions)}"
        )
    why = converter.available(precision)
    if why is not None:
        raise ConverterUnavailableError(variant, why)
    return converter
