"""Makes the variants of one stage: climbs the ladder until the guard lets one pass, then measures all in turns."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from lodeworks_converters import Attempt, PackagePlan, find_converter, judge, write_variant
from lodeworks_converters.onnx_target import worst_layers
from lodeworks_executor.errors import BadDatasetError
from lodeworks_runtime import load_package

from lodeworks_builtin.convert_ladder import Tried, next_attempt
from lodeworks_builtin.convert_measure import hardware, peak_memory_bytes, score_delta, side_by_side
from lodeworks_builtin.convert_outcome import REFERENCE, SAME_AS_REFERENCE, Conversion, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lodeworks_formats.package import PackageManifest
    from lodeworks_runtime import Algorithm

    from lodeworks_builtin.convert_measure import Latency
    from lodeworks_builtin.convert_workbench import Workbench

_COMPARED_PICTURES = 8
_CONVERTED = 0.85


def convert_stage(
    bench: Workbench, *, variants: Sequence[tuple[str, str]], progress: Callable[[float, str], None]
) -> Conversion:
    """Returns what came of each (target, precision)."""
    if any(precision == "int8" for _, precision in variants) and not bench.calibration_digests:
        raise BadDatasetError("int8 needs pictures to calibrate with: name a dataset (--calibrate)")
    ranking = cache(lambda: _rank_layers(bench))
    made = []
    for place, (target, precision) in enumerate(variants):

        def tell(message: str, place: int = place) -> None:
            progress(0.05 + (_CONVERTED - 0.05) * place / len(variants), message)

        made.append(_climb(bench, target=target, precision=precision, worst=ranking, tell=tell))
    progress(_CONVERTED, "measuring latency side by side")
    measured = [_with_memory(variant) for variant in made]
    packages = {variant.name: load_package(variant.package) for variant in made if variant.package is not None}
    latencies = _latencies(bench, packages)
    return Conversion(
        name=bench.options.name,
        max_drop=bench.options.max_drop,
        classes=bench.reference.classes,
        reference=bench.reference_scores,
        variants=tuple(measured),
        latencies=latencies,
        hardware=hardware(),
        guard_pictures=len(bench.guard.pictures),
        guard_boxes=sum(len(picture.boxes or ()) for picture in bench.guard.pictures),
        calibration=bench.calibration_note,
        calibration_digests=bench.calibration_digests,
        provenance=bench.provenance,
    )


def _climb(
    bench: Workbench,
    *,
    target: str,
    precision: str,
    worst: Callable[[], Sequence[str]],
    tell: Callable[[str], None],
) -> Variant:
    tried: list[Tried] = []
    while True:
        attempt = next_attempt(target, precision, tried=tried, worst_layers=worst)
        if attempt is None:
            return Variant(target, precision, tuple(tried), package=None, manifest=None, max_score_delta=None)
        tell(f"{target}-{precision}: {attempt.label}")
        folder = bench.scratch / f"{target}-{precision}-{len(tried)}"
        manifest = _make(bench, target=target, attempt=attempt, folder=folder)
        package = folder / "package"
        copies = bench.copies(lambda package=package: load_package(package))
        scores, _ = bench.guard.measure(copies)
        verdict = judge(bench.reference_scores, scores, max_drop=bench.options.max_drop)
        tried.append(Tried(attempt, scores, verdict))
        tell(f"{target}-{precision}: {attempt.label}: mAP50:95 {scores.map:.4f} ({-verdict.drop:+.4f})")
        if verdict.accepted:
            delta = score_delta(bench.reference, copies[0], images=bench.images[:_COMPARED_PICTURES])
            return Variant(target, precision, tuple(tried), package, manifest, max_score_delta=delta)


def _make(bench: Workbench, *, target: str, attempt: Attempt, folder: Path) -> PackageManifest:
    work = folder / "work"
    work.mkdir(parents=True)
    artifact = find_converter(target, precision=attempt.precision).convert(
        bench.stage, attempt=attempt, calibration=bench.calibration, out=work
    )
    provenance = dict(bench.provenance)
    if attempt.precision == "int8":
        provenance |= {"calibration": bench.calibration_note, "quantization": attempt.label}
    plan = PackagePlan(
        target=target,
        precision=attempt.precision,
        recipe=bench.reference.recipe,
        probe_picture=bench.probe.data,
        probe_extension=bench.probe.extension,
        provenance=provenance,
    )
    return write_variant(artifact, source=work, plan=plan, out=folder / "package")


def _rank_layers(bench: Workbench) -> tuple[str, ...]:
    folder = bench.scratch / "ranking"
    folder.mkdir()
    find_converter("onnx", precision="int8").convert(
        bench.stage, attempt=Attempt("int8"), calibration=bench.calibration, out=folder
    )
    return worst_layers(bench.stage, folder / "model.onnx", calibration=bench.calibration)


def _latencies(bench: Workbench, packages: Mapping[str, Algorithm]) -> dict[str, Latency]:
    if SAME_AS_REFERENCE not in packages:
        return side_by_side({REFERENCE: bench.reference, **packages}, images=bench.images)
    # The stage timed beside its own twin would only show the noise of the machine as a speed-up.
    taken = side_by_side(packages, images=bench.images)
    return {REFERENCE: taken[SAME_AS_REFERENCE], **taken}


def _with_memory(variant: Variant) -> Variant:
    if variant.package is None:
        return variant
    return replace(variant, peak_memory_bytes=peak_memory_bytes(variant.package))
