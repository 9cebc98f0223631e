"""Mining and inference with the ONNX of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lodeworks_executor import BadDatasetError, BadModelError, BadSettingError
from lodeworks_runtime import load_onnx
from lodeworks_runtime.errors import AlgorithmError

from lodeworks_detector.examples import read_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lodeworks_executor import Task
    from lodeworks_formats.boxes import Box
    from lodeworks_runtime import Algorithm

_MINING_SETTINGS = ("mining_score", "threads")
_INFER_SETTINGS = ("score", "threads")
_TOLD_EVERY = 50


def predict(task: Task) -> None:
    """Mines, infers, or both with one pass over the candidates."""
    task.settings.refuse_unknown({*_MINING_SETTINGS, *_INFER_SETTINGS})
    mining_score = task.settings.number("mining_score", default=0.05, minimum=0.001, maximum=1.0)
    score = task.settings.number("score", default=0.05, minimum=0.001, maximum=1.0)
    algorithm = _load(task.models(), threads=task.settings.integer("threads", default=2, minimum=1))
    candidates = [sample.asset_path for sample in task.candidates()]
    if not candidates:
        raise BadDatasetError("there are no candidates")
    lowest = min(mining_score, score) if task.run_mining else score
    scores: dict[Path, float] = {}
    found: dict[Path, list[Box]] = {}
    for number, path in enumerate(candidates, start=1):
        boxes = algorithm.predict([read_picture(path)], score=lowest)[0]
        scores[path] = entropy([box.score or 0.0 for box in boxes if (box.score or 0.0) >= mining_score])
        found[path] = [box for box in boxes if (box.score or 0.0) >= score]
        if number % _TOLD_EVERY == 0:
            task.progress(number / len(candidates))
    if task.run_mining:
        task.write_mining(scores)
    if task.run_infer:
        task.write_inference(found)
    task.progress(1.0)


def entropy(scores: Sequence[float]) -> float:
    """Returns the sum of the binary entropies of scores, in nats: how unsure the boxes of a picture are together."""
    shares = np.clip(np.asarray(scores, dtype=np.float64), 1e-9, 1 - 1e-9)
    return float(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).sum())


def _load(models: Sequence[Path], *, threads: int) -> Algorithm:
    if not models:
        raise BadSettingError("model_params_path", "is missing; mining and inference need a model")
    for path in models:
        if path.suffix == ".onnx":
            try:
                return load_onnx(path, threads=threads)
            except AlgorithmError as error:
                raise BadModelError(str(error)) from error
    raise BadModelError(f"there is no .onnx among {', '.join(path.name for path in models)}")
