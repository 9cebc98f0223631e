"""Loads algorithm packages: checks them, reads their manifest, picks the backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_formats.errors import FormatError
from lodeworks_formats.package import read_package

from lodeworks_runtime.algorithm import Algorithm
from lodeworks_runtime.decoders import find_decoder
from lodeworks_runtime.errors import PackageError
from lodeworks_runtime.loading import find_backend
from lodeworks_runtime.recipe import Recipe, Thresholds

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_formats.package import PackageManifest


def load_package(folder: Path, *, threads: int = 1) -> Algorithm:
    """Loads a package folder, whose every file is checked against its digest first.

    Raises PackageError, ModelError, or BackendMissingError with what to install.
    """
    try:
        manifest = read_package(folder)
    except FormatError as error:
        raise PackageError(str(error)) from error
    recipe = recipe_of(manifest)
    decoder = find_decoder(recipe.decoder)
    module = find_backend(manifest.runtime.name)
    backend = module.load(folder / _entry_file(manifest, suffix=module.SUFFIX), threads=threads)
    return Algorithm(recipe=recipe, backend=backend, decoder=decoder, manifest=manifest)


def recipe_of(manifest: PackageManifest) -> Recipe:
    """Returns what a package says of its input and thresholds; raises ModelError when that cannot be."""
    spec = manifest.io
    if (spec.dtype, spec.layout) != ("float32", "NCHW"):
        raise PackageError(f"an input of {spec.dtype} {spec.layout} is not known here: upgrade lodeworks")
    mean, std = _triple(spec.mean, "mean"), _triple(spec.std, "std")
    return Recipe(
        height=spec.height,
        width=spec.width,
        classes=manifest.classes,
        pad=spec.letterbox.pad,
        fit=spec.letterbox.fit,
        colour=spec.colour,
        scale=spec.scale,
        mean=mean,
        std=std,
        decoder=manifest.decoder,
        strides=tuple(int(stride) for stride in manifest.decoder_options.get("strides", ())),
        input_name=spec.name,
        thresholds=Thresholds(
            score=manifest.thresholds.score,
            nms_iou=manifest.thresholds.nms_iou,
            max_detections=manifest.thresholds.max_detections,
        ),
    )


def _triple(values: tuple[float, ...], name: str) -> tuple[float, float, float]:
    if len(values) != 3:  # noqa: PLR2004 - one a channel
        raise PackageError(f"io.{name} has {len(values)} values: a package names one a channel")
    return values[0], values[1], values[2]


def _entry_file(manifest: PackageManifest, *, suffix: str) -> str:
    for file in manifest.files_of("weights"):
        if file.path.endswith(suffix):
            return file.path
    raise PackageError(f"the package names no {suffix} file of role weights, which {manifest.runtime.name} needs")
