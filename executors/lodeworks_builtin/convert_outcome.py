"""What came of a conversion, and how the report tells it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lodeworks_converters.guard import TriedRow, table
from lodeworks_formats.task_inputs import package_role

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_converters.guard import GuardScores
    from lodeworks_formats.package import PackageManifest

    from lodeworks_builtin.convert_ladder import Tried
    from lodeworks_builtin.convert_measure import Hardware, Latency

REFERENCE = "reference"
SAME_AS_REFERENCE = "onnx-fp32"
"""The variant that is the stage itself: the same network in the same library. Where it is made, the two are one."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One target and precision: the steps tried, and the package when the last one passed."""

    target: str
    precision: str
    tried: tuple[Tried, ...]
    package: Path | None
    manifest: PackageManifest | None
    max_score_delta: float | None
    peak_memory_bytes: int | None = None

    @property
    def name(self) -> str:
        """Such as openvino-int8."""
        return f"{self.target}-{self.precision}"

    @property
    def role(self) -> str:
        """The output that holds the packed package."""
        return package_role(self.target, self.precision)

    @property
    def last(self) -> Tried:
        """The step that passed, or of a refused variant the one that lost least."""
        if self.package is not None:
            return self.tried[-1]
        return min(self.tried, key=lambda one: one.verdict.drop)


@dataclass(frozen=True, slots=True)
class Conversion:
    """All variants of one stage with their measurements."""

    name: str
    max_drop: float
    classes: tuple[str, ...]
    reference: GuardScores
    variants: tuple[Variant, ...]
    latencies: dict[str, Latency]
    hardware: Hardware
    guard_pictures: int
    guard_boxes: int
    calibration: dict[str, Any]
    calibration_digests: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether every variant passed the guard."""
        return all(variant.package is not None for variant in self.variants)

    def report(self) -> dict[str, Any]:
        """Returns everything as JSON: accuracies absolute, latencies in ms, sizes in bytes; None = not measured."""
        return {
            "name": self.name,
            "accepted": self.accepted,
            "refused": [variant.name for variant in self.variants if variant.package is None],
            "max_drop": self.max_drop,
            "class_names": list(self.classes),
            "guard": {"pictures": self.guard_pictures, "boxes": self.guard_boxes},
            "calibration": {**self.calibration, "digests": list(self.calibration_digests)},
            "hardware": self.hardware.to_json(),
            "provenance": self.provenance,
            REFERENCE: {**_scores(self.reference), **_latency(self.latencies.get(REFERENCE))},
            "variants": [self._variant(variant) for variant in self.variants],
        }

    def _variant(self, variant: Variant) -> dict[str, Any]:
        last = variant.last
        latency, reference = self.latencies.get(variant.name), self.latencies.get(REFERENCE)
        return {
            "name": variant.name,
            "target": variant.target,
            "precision": variant.precision,
            "accepted": variant.package is not None,
            "reason": last.verdict.reason,
            "settings": last.attempt.label,
            **_scores(last.scores),
            "drop": last.verdict.drop,
            "class_drops": dict(last.verdict.class_drops),
            **_latency(latency),
            "speed_up": reference.p50_ms / latency.p50_ms if latency and reference else None,
            "max_score_delta": variant.max_score_delta,
            "peak_memory_bytes": variant.peak_memory_bytes,
            "size_bytes": sum(file.size_bytes for file in variant.manifest.files) if variant.manifest else None,
            "package_id": variant.manifest.package_id if variant.manifest else None,
            "role": variant.role if variant.manifest else None,
            "tools": dict(variant.manifest.provenance["tools"]) if variant.manifest else {},
            "tried": [
                {
                    "settings": one.attempt.label,
                    "keep_float": list(one.attempt.keep_float),
                    **_scores(one.scores),
                    "drop": one.verdict.drop,
                    "reason": one.verdict.reason,
                }
                for one in variant.tried
            ],
            "table": table([TriedRow(one.attempt.label, one.scores, one.verdict) for one in variant.tried]),
        }


def _scores(scores: GuardScores) -> dict[str, Any]:
    return {"map": scores.map, "map50": scores.map50, "per_class": dict(scores.per_class)}


def _latency(latency: Latency | None) -> dict[str, Any]:
    return {"latency": None if latency is None else asdict(latency)}
