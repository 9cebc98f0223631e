"""The interface of converters."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy as np
    from lodeworks_formats.package import Runtime
    from numpy.typing import NDArray

MIN_MAX = "min-max"
PERCENTILE = "percentile"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to make a precision: the settings that a ladder varies when the first ones cost too much accuracy.

    `calibration` is `min-max` or `percentile`; `accurate_bias` corrects the biases of each layer after the layers
    before it, which takes longer; `keep_float` names convolutions of the ONNX graph that are left as they are.
    """

    precision: str
    calibration: str = MIN_MAX
    accurate_bias: bool = False
    keep_float: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What a table of attempts calls it."""
        if self.precision != "int8":
            return self.precision
        parts = [self.calibration]
        if self.accurate_bias:
            parts.append("bias correction")
        if self.keep_float:
            parts.append(f"{len(self.keep_float)} layers float")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of an artefact: its name in the output folder and its role in a package."""

    path: str
    role: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a converter made; the same inputs give the same bytes.

    `tools` names what made it by version, for the provenance of the package.
    """

    files: tuple[ArtifactFile, ...]
    runtime: Runtime
    outputs: tuple[str, ...]
    tools: Mapping[str, str] = field(default_factory=dict)


def what_to_install(*modules: str) -> str | None:
    """Returns what to install for modules that are not here, None when all are; imports none of them."""
    missing = [name for name in modules if find_spec(name) is None]
    return f"install {' and '.join(missing)}: pip install 'lodeworks-platform[convert]'" if missing else None


class Converter(Protocol):
    """Makes one target's artefacts of an ONNX file.

    It knows no datasets: calibration reaches it as prepared arrays.
    """

    target: str
    precisions: tuple[str, ...]

    def available(self, precision: str) -> str | None:
        """Returns None when that precision can be made here, else the reason and what to install."""
        ...

    def convert(
        self, model: Path, *, attempt: Attempt, calibration: Iterable[NDArray[np.float32]], out: Path
    ) -> Artifact:
        """Writes the artefact of an ONNX file into the existing folder `out` and returns what it is.

        `calibration` yields network inputs float32 [1, 3, H, W], the same ones each time it is iterated; it may be
        empty where the precision needs none. Raises ConverterUnavailableError or ConversionError.
        """
        ...
