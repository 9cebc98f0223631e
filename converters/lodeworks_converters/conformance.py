"""What every converter must keep, run on each of them: ours, and those of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lodeworks_runtime import Algorithm, Recipe, backends
from lodeworks_runtime.decoders import find_decoder
from lodeworks_runtime.loading import find_backend

from lodeworks_converters.base import Artifact, Attempt
from lodeworks_converters.errors import ConverterError, ConverterUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from lodeworks_converters.base import Converter

_WEIGHTS_AND_MORE = frozenset({"weights", "labels", "config", "card"})


class ConformanceError(AssertionError):
    """A converter does not keep its promises; the message says which one."""


def check_declaration(converter: Converter) -> None:
    """Checks what a converter says of itself; raises ConformanceError."""
    _require(bool(converter.target) and converter.target == converter.target.lower(), "the target is a lower-case name")
    _require(bool(converter.precisions), "a converter makes at least one precision")
    for precision in converter.precisions:
        why = converter.available(precision)
        _require(why is None or len(why) > 10, f"{precision}: a reason tells what is missing and what to do")  # noqa: PLR2004


def check_refusal(converter: Converter, *, model: Path, out: Path) -> None:
    """Checks that an unknown precision is refused and leaves nothing; raises ConformanceError."""
    try:
        converter.convert(model, attempt=Attempt("fp7"), calibration=[], out=out)
    except ConverterUnavailableError as error:
        _require("fp7" in error.variant, "the refusal names the variant")
    else:
        raise ConformanceError("an unknown precision is refused")
    _require(not list(out.iterdir()), "a refusal leaves nothing behind")


def check_broken_model(converter: Converter, *, broken: Path, precision: str, out: Path) -> None:
    """Checks that a file that is no network is refused as such; raises ConformanceError."""
    try:
        converter.convert(broken, attempt=Attempt(precision), calibration=[], out=out)
    except ConverterError:
        return
    raise ConformanceError("a broken model is refused")


def check_conversion(
    converter: Converter,
    *,
    precision: str,
    model: Path,
    calibration: Iterable[NDArray[np.float32]],
    folders: tuple[Path, Path],
) -> Artifact:
    """Converts twice, into two empty folders, and checks what came out; raises ConformanceError."""
    before = model.read_bytes()
    first = converter.convert(model, attempt=Attempt(precision), calibration=calibration, out=folders[0])
    second = converter.convert(model, attempt=Attempt(precision), calibration=calibration, out=folders[1])
    _require(model.read_bytes() == before, "the model itself is left alone")
    _require(first == second, "the same inputs give the same artefact")
    for file in first.files:
        _require(file.role in _WEIGHTS_AND_MORE, f"{file.path}: the role {file.role} is known")
        one, other = (folder / file.path for folder in folders)
        _require(one.is_file(), f"{file.path} is there")
        _require(one.read_bytes() == other.read_bytes(), f"{file.path}: the same inputs give the same bytes")
    made = sorted(path.name for path in folders[0].iterdir())
    _require(
        made == sorted(file.path for file in first.files), f"nothing is left beside the artefact, but there is {made}"
    )
    _require(any(file.role == "weights" for file in first.files), "an artefact has weights")
    _require(bool(first.tools), "an artefact names the tools that made it")
    _require(first.runtime.name in backends(), f"the runtime {first.runtime.name} has its twin in lodeworks_runtime")
    return first


def check_answers(
    artifact: Artifact,
    *,
    folder: Path,
    reference: Algorithm,
    recipe: Recipe,
    inputs: Iterable[NDArray[np.float32]],
    tolerance: float,
) -> None:
    """Checks that the artefact's scores stay within a tolerance of the reference's; raises ConformanceError."""
    module = find_backend(artifact.runtime.name)
    entry = next(file.path for file in artifact.files if file.role == "weights" and file.path.endswith(module.SUFFIX))
    algorithm = Algorithm(
        recipe=recipe, backend=module.load(folder / entry, threads=1), decoder=find_decoder(recipe.decoder)
    )
    for blob in inputs:
        wanted, got = reference.run_input(blob).scores, algorithm.run_input(blob).scores
        worst = float(np.abs(wanted - got).max())
        _require(worst <= tolerance, f"the scores differ by {worst:.4f}, more than {tolerance}")
    algorithm.close()


def _require(holds: bool, promise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise ConformanceError(promise)
