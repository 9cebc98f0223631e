"""What a conversion works with: the simplified stage, its reference answers, guard and calibration pictures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lodeworks_converters import Attempt, Calibration, choose_pictures, find_converter
from lodeworks_executor.errors import BadDatasetError, BadModelError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures
from lodeworks_runtime import Algorithm, AlgorithmError, PictureError, decode_picture, load_onnx

from lodeworks_builtin.convert_measure import GuardBench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from lodeworks_converters.guard import GuardScores
    from lodeworks_executor import Task
    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture
    from lodeworks_formats.task_inputs import ConvertOptions
    from numpy.typing import NDArray

_TIMED_PICTURES = 16
_PROBE_CANDIDATES = 64
_MAX_PROBE_BOXES = 40


@dataclass(frozen=True, slots=True)
class Probe:
    """The picture of the golden probe: its bytes and their extension."""

    data: bytes
    extension: str


@dataclass(frozen=True, slots=True)
class Workbench:
    """Everything that the variants of one stage share.

    `reference` is the stage itself in fp32 in onnxruntime, on one thread; `images` are a few guard pictures, decoded,
    to time with.
    """

    options: ConvertOptions
    stage: Path
    scratch: Path
    reference: Algorithm
    reference_scores: GuardScores
    guard: GuardBench
    calibration: Calibration
    calibration_digests: tuple[str, ...]
    probe: Probe
    images: tuple[NDArray[np.uint8], ...]

    def copies(self, load: Any) -> list[Algorithm]:
        """Returns as many copies of an algorithm as there are cores."""
        return [load() for _ in range(worker_count())]

    @property
    def provenance(self) -> dict[str, Any]:
        """What every package of this stage says of its origin."""
        given: dict[str, Any] = json.loads(self.options.provenance)
        return {**given, "stage_sha256": given.get("stage_sha256", sha256_hex(self.stage.read_bytes()))}

    @property
    def calibration_note(self) -> dict[str, Any]:
        """Which pictures calibrated a quantized package."""
        return {
            "pictures": len(self.calibration_digests),
            "seed": self.options.seed,
            "digests_sha256": sha256_hex("\n".join(self.calibration_digests).encode()),
        }


def worker_count() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def open_workbench(task: Task, *, options: ConvertOptions, model: Path, scratch: Path) -> Workbench:
    """Reads the inputs of a conversion and measures the reference.

    Raises:
        BadModelError: the stage cannot be run.
        BadDatasetError: the guard pictures are not annotated, or a picture cannot be read.
    """
    stage_folder = scratch / "stage"
    stage_folder.mkdir()
    find_converter("onnx", precision="fp32").convert(model, attempt=Attempt("fp32"), calibration=[], out=stage_folder)
    stage = stage_folder / "model.onnx"
    try:
        copies = [load_onnx(stage) for _ in range(worker_count())]
    except AlgorithmError as error:
        raise BadModelError(str(error)) from error
    assets = task.environment.inputs.assets
    guard = GuardBench(list(read_pictures(task.role(roles.GUARD))), assets=assets, class_names=copies[0].classes)
    task.progress(0.02, f"measuring the stage on {len(guard.pictures)} guard pictures")
    scores, predictions = guard.measure(copies)
    if scores.map <= 0.0:
        raise BadDatasetError(
            "the stage itself finds nothing on the guard dataset: guard on pictures of the model's kind"
        )
    calibration, digests = _calibration(task, options=options, assets=assets, algorithm=copies[0])
    probe_picture = choose_probe(guard.pictures, predictions, threshold=copies[0].recipe.thresholds.score)
    return Workbench(
        options=options,
        stage=stage,
        scratch=scratch,
        reference=copies[0],
        reference_scores=scores,
        guard=guard,
        calibration=calibration,
        calibration_digests=digests,
        probe=Probe(_bytes_of(probe_picture, assets), probe_picture.upright_extension),
        images=tuple(decode_picture(_bytes_of(picture, assets)) for picture in guard.pictures[:_TIMED_PICTURES]),
    )


def choose_probe(pictures: Sequence[Picture], predictions: Mapping[str, Sequence[Box]], *, threshold: float) -> Picture:
    """Returns the picture on which the stage's answer is clearest: boxes there are, and no score near the threshold."""

    def clearness(picture: Picture) -> tuple[bool, float, str]:
        scores = [box.score or 0.0 for box in predictions[picture.digest]]
        found = sum(score >= threshold for score in scores)
        margin = min((abs(score - threshold) for score in scores), default=0.0)
        return 1 <= found <= _MAX_PROBE_BOXES, margin, picture.digest

    return max(sorted(pictures, key=lambda picture: picture.digest)[:_PROBE_CANDIDATES], key=clearness)


def _calibration(
    task: Task, *, options: ConvertOptions, assets: Path, algorithm: Algorithm
) -> tuple[Calibration, tuple[str, ...]]:
    if not task.has_role(roles.CALIBRATION):
        return Calibration([]), ()
    names = {picture.digest: picture for picture in read_pictures(task.role(roles.CALIBRATION))}
    if not names:
        raise BadDatasetError("the calibration dataset is empty: name one that has pictures")
    digests = choose_pictures(names, count=options.calibration_pictures, seed=options.seed)
    return Calibration([partial(_input_of, names[digest], assets, algorithm) for digest in digests]), digests


def _input_of(picture: Picture, assets: Path, algorithm: Algorithm) -> NDArray[np.float32]:
    try:
        return algorithm.prepare(decode_picture(_bytes_of(picture, assets)))[0]
    except PictureError as error:
        raise BadDatasetError(f"a calibration picture cannot be read: {picture.upright_name}: {error}") from error


def _bytes_of(picture: Picture, assets: Path) -> bytes:
    path = assets / asset_path(picture.upright_name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadDatasetError(f"the picture {picture.upright_name} is not there: {error.strerror}") from error
