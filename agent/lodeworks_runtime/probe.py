"""The golden probe: proves on the spot that a package answers here as it did where it was made."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lodeworks_formats.boxes import Box, iou

from lodeworks_runtime.errors import AlgorithmError, PackageError
from lodeworks_runtime.packages import load_package

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lodeworks_formats.package import PackageManifest

    from lodeworks_runtime.algorithm import Algorithm

_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a package answers for its probe picture: every box with at least `score`."""

    score: float
    boxes: tuple[Box, ...]

    def to_bytes(self) -> bytes:
        """Returns the expectation as JSON; coordinates with 3 decimals, scores with 5."""
        rows = [
            {
                "class_name": box.class_name,
                "x": round(box.x, 3),
                "y": round(box.y, 3),
                "w": round(box.w, 3),
                "h": round(box.h, 3),
                "score": round(box.score or 0.0, 5),
            }
            for box in self.boxes
        ]
        return json.dumps({"score": self.score, "boxes": rows}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Expectation:
        """Reads what `to_bytes` wrote; raises PackageError when it is something else."""
        try:
            document: dict[str, Any] = json.loads(data)
            boxes = tuple(Box(**row) for row in document["boxes"])
            return cls(score=float(document["score"]), boxes=boxes)
        except (ValueError, TypeError, KeyError) as error:
            raise PackageError(f"the expected output of the probe cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an answer is from the expected one: in pixels, in score, and the first reason why it is too far."""

    reason: str | None
    max_box_delta: float
    max_score_delta: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether a package answers its probe as expected; `reason` is None when it does."""

    ok: bool
    reason: str | None
    max_box_delta: float
    max_score_delta: float
    latency_ms: float


def compare(expected: Expectation, found: Sequence[Box], *, min_iou: float, max_score_delta: float) -> Comparison:
    """Compares an answer with the expected one.

    `found` reaches down to `expected.score − max_score_delta`. A box so near to the threshold that the tolerance could
    hide it is not missed, and one that could come up from below is not too many.
    """
    firm = expected.score + max_score_delta
    left = list(found)
    worst_box = worst_score = 0.0
    reason: str | None = None
    for box in expected.boxes:
        partner = max(
            (other for other in left if other.class_name == box.class_name), key=lambda o: iou(box, o), default=None
        )
        if partner is None or iou(box, partner) < min_iou:
            if (box.score or 0.0) >= firm:
                reason = reason or f"the expected {box.class_name} at {_place(box)} is not found"
            continue
        left.remove(partner)
        score_delta = abs((partner.score or 0.0) - (box.score or 0.0))
        worst_score = max(worst_score, score_delta)
        worst_box = max(worst_box, _distance(box, partner))
        if score_delta > max_score_delta:
            reason = reason or (
                f"the {box.class_name} at {_place(box)} has score {partner.score:.3f}, expected {box.score:.3f}"
            )
    extra = next((box for box in left if (box.score or 0.0) >= firm), None)
    if extra is not None:
        reason = reason or f"an unexpected {extra.class_name} at {_place(extra)} with score {extra.score:.3f}"
    return Comparison(reason=reason, max_box_delta=worst_box, max_score_delta=worst_score)


def probe(folder: Path, *, threads: int = 1, timer: Callable[[], float] = time.perf_counter) -> ProbeResult:
    """Loads a package and runs its golden probe; whatever goes wrong is a reason, not an exception."""
    try:
        algorithm = load_package(folder, threads=threads)
        try:
            return probe_algorithm(algorithm, folder, timer=timer)
        finally:
            algorithm.close()
    except AlgorithmError as error:
        return ProbeResult(ok=False, reason=str(error), max_box_delta=0.0, max_score_delta=0.0, latency_ms=0.0)


def probe_algorithm(
    algorithm: Algorithm, folder: Path, *, timer: Callable[[], float] = time.perf_counter
) -> ProbeResult:
    """Runs the golden probe of a package that is loaded already.

    `latency_ms` is the median from the encoded picture to its boxes, after one run to warm up.
    """
    manifest = algorithm.manifest
    if manifest is None:
        raise PackageError("the algorithm was not loaded from a package: it has no probe")
    health = manifest.health
    data = _content(folder, manifest, path=health.probe_input, role="probe-input")
    expected = Expectation.from_bytes(_content(folder, manifest, path=health.expected_output, role="expected-output"))
    floor = max(0.0, expected.score - health.max_score_delta)
    found = algorithm.predict_bytes(data, score=floor)
    result = compare(expected, found, min_iou=health.min_iou, max_score_delta=health.max_score_delta)
    times = []
    for _ in range(_REPEATS):
        begin = timer()
        algorithm.predict_bytes(data)
        times.append(timer() - begin)
    latency_ms = statistics.median(times) * 1000
    reason = result.reason
    if reason is None and health.max_latency_ms is not None and latency_ms > health.max_latency_ms:
        reason = f"a picture takes {latency_ms:.1f} ms, the package allows {health.max_latency_ms:.1f} ms"
    return ProbeResult(
        ok=reason is None,
        reason=reason,
        max_box_delta=result.max_box_delta,
        max_score_delta=result.max_score_delta,
        latency_ms=latency_ms,
    )


def _content(folder: Path, manifest: PackageManifest, *, path: str, role: str) -> bytes:
    if path not in {file.path for file in manifest.files_of(role)}:
        raise PackageError(f"the package has no golden probe: it names no file of role {role}")
    return (folder / path).read_bytes()


def _distance(a: Box, b: Box) -> float:
    return max(abs(a.x - b.x), abs(a.y - b.y), abs(a.x2 - b.x2), abs(a.y2 - b.y2))


def _place(box: Box) -> str:
    return f"({box.x:.0f}, {box.y:.0f}, {box.w:.0f} × {box.h:.0f})"
