"""From an artefact to a package folder with its golden probe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lodeworks_formats.package import (
    Health,
    InputSpec,
    Letterbox,
    PackageFile,
    PackageManifest,
    Resources,
    Thresholds,
    read_package,
    write_package,
)
from lodeworks_runtime import PictureError, load_package, probe
from lodeworks_runtime.probe import Expectation

from lodeworks_converters.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lodeworks_runtime import Recipe

    from lodeworks_converters.base import Artifact

_LABELS = "labels.txt"
_EXPECTED = "expected.json"
# What a runtime itself takes, and how much of the weights' size its packed copies and activations take at most.
_BASE_MEMORY_BYTES = 96 << 20
_MEMORY_PER_WEIGHT_BYTE = 8
# Another processor rounds differently: in float in the last digits, in int8 by steps of a layer.
_TOLERANCES = {"fp32": (0.97, 0.01), "fp16": (0.97, 0.02), "int8": (0.85, 0.06)}
_LATENCY_CEILING_MS = 2000.0


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """What a package says beyond its artefact.

    `probe_picture` is an encoded picture with `probe_extension` (jpg, png, bmp) on which the model finds something
    clearly; `provenance` holds JSON values only, and only such as the inputs determine.
    """

    target: str
    precision: str
    recipe: Recipe
    probe_picture: bytes
    probe_extension: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    max_latency_ms: float = _LATENCY_CEILING_MS


def write_variant(artifact: Artifact, *, source: Path, plan: PackagePlan, out: Path) -> PackageManifest:
    """Makes a package folder `out` of an artefact whose files lie in `source`, and returns its manifest.

    The expected boxes of the golden probe are this very variant's answer, given by the runtime that devices use; the
    package is then read back and its probe run. Raises ConversionError when it does not pass on the spot.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [(file.path, file.role) for file in artifact.files]
    for path, _ in files:
        shutil.copyfile(source / path, out / path)
    probe_name = f"probe.{plan.probe_extension}"
    (out / probe_name).write_bytes(plan.probe_picture)
    (out / _LABELS).write_text("".join(f"{name}\n" for name in plan.recipe.classes), encoding="utf-8")
    files += [(probe_name, "probe-input"), (_LABELS, "labels")]
    manifest = _manifest(artifact, plan=plan, probe_name=probe_name, out=out, files=files)
    write_package(out, manifest)
    # The package without its expectation runs already, and so it can say what to expect of itself.
    expectation, tolerance = _answer(out, plan=plan, tolerance=manifest.health.max_score_delta)
    (out / _EXPECTED).write_bytes(expectation.to_bytes())
    files.append((_EXPECTED, "expected-output"))
    health = replace(manifest.health, max_score_delta=tolerance)
    write_package(out, replace(manifest, health=health, files=_entries(files)))
    result = probe(out)
    if not result.ok:
        raise ConversionError(f"the new package does not pass its own probe: {result.reason}")
    return read_package(out)


def _answer(package: Path, *, plan: PackagePlan, tolerance: float) -> tuple[Expectation, float]:
    """Returns what the package answers for its probe picture, and how far a score may be off.

    At least one expected box stands firmly above what the tolerance could hide: without one, any network would pass,
    a broken one too. The highest score decides, so that a weak network is proved as well as a sure one.
    """
    algorithm = load_package(package)
    try:
        boxes = algorithm.predict_bytes(plan.probe_picture, score=0.0)
    except PictureError as error:
        raise ConversionError(f"the probe cannot be used: {error}") from error
    finally:
        algorithm.close()
    highest = max((box.score or 0.0 for box in boxes), default=0.0)
    tolerance = min(tolerance, highest / 4)
    score = min(plan.recipe.thresholds.score, highest - 2 * tolerance)
    return Expectation(score=score, boxes=tuple(box for box in boxes if (box.score or 0.0) >= score)), tolerance


def _manifest(
    artifact: Artifact, *, plan: PackagePlan, probe_name: str, out: Path, files: list[tuple[str, str]]
) -> PackageManifest:
    recipe = plan.recipe
    weight_bytes = sum((out / path).stat().st_size for path, role in files if role == "weights")
    disk_bytes = sum((out / path).stat().st_size for path, _ in files)
    min_iou, max_score_delta = _TOLERANCES.get(plan.precision, _TOLERANCES["int8"])
    return PackageManifest(
        target=plan.target,
        precision=plan.precision,
        runtime=artifact.runtime,
        io=InputSpec(
            name=recipe.input_name,
            height=recipe.height,
            width=recipe.width,
            colour=recipe.colour,
            scale=recipe.scale,
            mean=recipe.mean,
            std=recipe.std,
            letterbox=Letterbox(pad=recipe.pad, fit=recipe.fit, resample="area-or-linear"),
            outputs=artifact.outputs,
        ),
        classes=recipe.classes,
        decoder=recipe.decoder,
        decoder_options={"strides": list(recipe.strides)} if recipe.strides else {},
        thresholds=Thresholds(
            score=recipe.thresholds.score,
            nms_iou=recipe.thresholds.nms_iou,
            max_detections=recipe.thresholds.max_detections,
        ),
        resources=Resources(
            memory_bytes=_BASE_MEMORY_BYTES + _MEMORY_PER_WEIGHT_BYTE * weight_bytes, disk_bytes=disk_bytes
        ),
        health=Health(
            probe_input=probe_name,
            expected_output=_EXPECTED,
            min_iou=min_iou,
            max_score_delta=max_score_delta,
            max_latency_ms=plan.max_latency_ms,
        ),
        provenance={**plan.provenance, "tools": dict(sorted(artifact.tools.items()))},
        files=_entries(files),
    )


def _entries(files: list[tuple[str, str]]) -> tuple[PackageFile, ...]:
    return tuple(PackageFile(path, "", 0, role) for path, role in files)
