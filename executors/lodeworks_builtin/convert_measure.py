"""Measures variants: accuracy on the guard pictures, latency side by side, memory in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lodeworks_converters.guard import GuardScores
from lodeworks_evaluation.evaluation import evaluate
from lodeworks_executor.errors import BadDatasetError

from lodeworks_builtin.picture_stream import PictureStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

# Low enough that the precision-recall curve has its tail; a device uses the package's own threshold.
GUARD_SCORE = 0.01
_WARM_UP = 5
_MAX_ROUNDS = 120
_MAX_LATENCY_RUN_S = 12.0
_MEMORY_LIMIT_S = 120
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a decoded picture to its boxes, one thread, one picture a time."""

    p50_ms: float
    p95_ms: float
    throughput_per_s: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the latencies were measured on."""

    processor: str
    cores: int
    flags: tuple[str, ...]
    system: str

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return {**asdict(self), "flags": list(self.flags)}


class GuardBench:
    """The annotated pictures of the guard dataset, and how algorithms fare on them."""

    def __init__(self, pictures: Sequence[Picture], *, assets: Path, class_names: Sequence[str]) -> None:
        annotated = [picture for picture in pictures if picture.boxes is not None]
        if not annotated:
            raise BadDatasetError("no picture of the guard dataset is annotated: accuracy cannot be measured")
        known = set(class_names)
        if not any(box.class_name in known for picture in annotated for box in picture.boxes or ()):
            raise BadDatasetError(
                f"no box of the guard dataset is of a class of the model ({', '.join(class_names)}): "
                "guard on another one"
            )
        self.pictures = annotated
        self._assets = assets
        self._class_names = tuple(class_names)

    def measure(self, algorithms: Sequence[Algorithm]) -> tuple[GuardScores, dict[str, list[Box]]]:
        """Returns the scores of several copies of one algorithm, and its boxes by picture digest.

        Raises BadDatasetError when a picture cannot be read: a guard with holes guards nothing.
        """
        predictions: dict[str, list[Box]] = {}
        stream = PictureStream(algorithms, assets=self._assets)
        for seen in stream.look(
            self.pictures, lambda algorithm, image: algorithm.predict([image], score=GUARD_SCORE)[0]
        ):
            if seen.found is None:
                raise BadDatasetError(f"a guard picture cannot be read: {seen.problem}")
            predictions[seen.picture.digest] = seen.found
        result = evaluate(self.pictures, predictions, class_names=self._class_names).coco
        per_class = {name: scores.ap for name, scores in result.per_class.items() if scores.ap is not None}
        return GuardScores(map=result.ap or 0.0, map50=result.ap50 or 0.0, per_class=per_class), predictions


def score_delta(reference: Algorithm, variant: Algorithm, *, images: Sequence[NDArray[np.uint8]]) -> float:
    """Returns the greatest difference of any score of any place, over some pictures."""
    worst = 0.0
    for image in images:
        wanted, _ = reference.raw(image)
        got, _ = variant.raw(image)
        worst = max(worst, float(np.abs(wanted.scores - got.scores).max(initial=0.0)))
    return worst


def side_by_side(
    algorithms: Mapping[str, Algorithm],
    *,
    images: Sequence[NDArray[np.uint8]],
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Returns the latency of each, measured in turns so that a noisy moment of the machine hits all alike."""
    for algorithm in algorithms.values():
        for place in range(_WARM_UP):
            algorithm.detect(images[place % len(images)])
    times: dict[str, list[float]] = {name: [] for name in algorithms}
    order = list(algorithms.items())
    end = timer() + _MAX_LATENCY_RUN_S
    for turn in range(_MAX_ROUNDS):
        image = images[turn % len(images)]
        # Whoever runs after a large network finds the caches cold: each takes each place in turn.
        shift = turn % len(order)
        for name, algorithm in (*order[shift:], *order[:shift]):
            begin = timer()
            algorithm.detect(image)
            times[name].append(timer() - begin)
        if timer() > end:
            break
    return {
        name: Latency(
            p50_ms=float(np.median(taken)) * 1000,
            p95_ms=float(np.quantile(taken, 0.95)) * 1000,
            throughput_per_s=len(taken) / sum(taken),
        )
        for name, taken in times.items()
    }


def peak_memory_bytes(package: Path) -> int | None:
    """Returns the resident memory that a process needs to run a package, None where it cannot be told."""
    command = [sys.executable, "-m", "lodeworks_builtin.convert_memory", str(package)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, check=True, capture_output=True, timeout=_MEMORY_LIMIT_S
        )
        return int(json.loads(done.stdout)["peak_bytes"])
    except (subprocess.SubprocessError, ValueError, KeyError):
        return None


def hardware() -> Hardware:
    """Returns what this machine is."""
    facts: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return Hardware(
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        flags=tuple(flag for flag in _TELLING_FLAGS if flag in flags),
        system=f"{platform.system()} {platform.machine()}",
    )
