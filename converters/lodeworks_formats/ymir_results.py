"""What an executor leaves in /out, in every form that YMIR images ever wrote.

What others call:

    parse_training_result(text) -> TrainingResult(best_stage_name, stages, attachments, evaluate_config)
    parse_mining_result(text) -> list[(asset path, score)], best first
    parse_inference_result(data) -> dict[base name, tuple[Box, ...]]
    parse_monitor(text) -> Monitor(task_id, timestamp, fraction, state, code, message) | None while it is being written
    render_training_result, render_mining_result, render_inference_result, render_monitor: the 1.1.0 forms
    EXECUTOR_CODES: monitor code -> name of the failure
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segmentation_results import is_segmentation, read_segmentation

LEGACY_STAGE = "default_best_stage"

RUNNING, FAILED = 2, 4

EXECUTOR_CODES: Mapping[int, str] = {
    300001: "CONFIG",
    300002: "DATASET",
    300003: "PICTURE_FORMAT",
    300004: "MODEL",
    300005: "OBJECT_TYPE",
    300101: "CUDA_MISMATCH",
    300102: "NO_GPU",
    300103: "OUT_OF_MEMORY",
    300201: "NOT_A_NUMBER",
    300301: "NETWORK",
}

_RESULT, _MINING, _INFER = "result.yaml", "result.tsv", "infer-result.json"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COUNTS = ("tp", "fp", "fn")
_NOT_SCORES = ("stage_name", "files", "timestamp")


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage of a training.

    Attributes:
        name: Safe as a name: letters, digits, underscores.
        given_name: As the executor wrote it; the folder under /out/models.
        files: Base names, in that folder (old images: straight in /out/models).
        timestamp: Seconds since the epoch, 0 when unknown.
        scores: mAP, mAR, mIoU, maskAP, tp, fp, fn, … as far as written.
    """

    name: str
    given_name: str
    files: tuple[str, ...]
    timestamp: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The whole of result.yaml, legacy forms normalised."""

    best_stage_name: str
    stages: tuple[StageResult, ...]
    attachments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evaluate_config: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Monitor:
    """The first line of monitor.txt, and what follows it."""

    task_id: str
    timestamp: float
    fraction: float
    state: int
    code: int | None = None
    message: str = ""


def parse_training_result(text: str) -> TrainingResult:
    """Reads result.yaml of protocol 1.1.0 or the legacy {map, model}; raises FormatError BAD_RESULT."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise FormatError("BAD_RESULT", "this is no YAML", _RESULT, mark and mark.line + 1) from error
    if not isinstance(raw, dict):
        raise _bad_result("the file must hold keys and values")
    if "model_stages" not in raw and "model" in raw:
        score = raw.get("map", raw.get("mAP"))
        scores = {} if score is None else {"mAP": _number(score, "map")}
        return TrainingResult(
            LEGACY_STAGE, (StageResult(LEGACY_STAGE, LEGACY_STAGE, _base_names(raw["model"]), 0, scores),)
        )
    given = raw.get("model_stages")
    if not isinstance(given, dict) or not given:
        raise _bad_result("there is no stage under model_stages")
    stages: list[StageResult] = []
    safe: dict[str, str] = {}
    for key, stage in given.items():
        parsed = _stage(str(key), stage, taken=set(safe.values()))
        safe[str(key)] = parsed.name
        stages.append(parsed)
    best = str(raw.get("best_stage_name", ""))
    if best not in safe:
        raise _bad_result(f"best_stage_name {best!r} is none of the stages")
    attachments = raw.get("attachments") or {}
    if not isinstance(attachments, dict):
        raise _bad_result("attachments must hold sections")
    return TrainingResult(
        best_stage_name=safe[best],
        stages=tuple(stages),
        attachments={_base_name(section): _base_names(files or []) for section, files in attachments.items()},
        evaluate_config=_numbers(raw.get("evaluate_config") or {}),
    )


def _stage(key: str, raw: Any, *, taken: set[str]) -> StageResult:
    if not isinstance(raw, dict):
        raise _bad_result(f"stage {key!r} must hold keys and values")
    given = _base_name(raw.get("stage_name", key))
    name = given if _NAME.match(given) else re.sub(r"[^A-Za-z0-9_]", "_", given)
    if not _NAME.match(name):
        name = f"stage_{name}"
    while name in taken:
        name += "_"
    scores = {
        (word.lower() if word.lower() in _COUNTS else word): _number(value, word)
        for word, value in raw.items()
        if isinstance(word, str) and word not in _NOT_SCORES and isinstance(value, int | float) and math.isfinite(value)
    }
    files = _base_names(raw.get("files") or [])
    if not files:
        raise _bad_result(f"stage {key!r} names no file")
    return StageResult(name, given, files, int(_number(raw.get("timestamp") or 0, "timestamp")), scores)


def _base_names(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list):
        raise _bad_result("files must be a list of names")
    return tuple(_base_name(name) for name in raw)


def _base_name(raw: Any) -> str:
    name = str(raw)
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise _bad_result(f"{name!r} is no base name; write names without folders")
    return name


def _number(raw: Any, key: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise _bad_result(f"{key} wants a number, not {raw!r}")
    return float(raw)


def _numbers(raw: Any) -> dict[str, float]:
    if not isinstance(raw, dict):
        raise _bad_result("evaluate_config must hold keys and values")
    return {str(key): _number(value, str(key)) for key, value in raw.items()}


def _bad_result(message: str) -> FormatError:
    return FormatError("BAD_RESULT", message, _RESULT)


def render_training_result(result: TrainingResult) -> str:
    """Returns result.yaml in the 1.1.0 form."""
    stages = {}
    for stage in result.stages:
        scores = {key: int(value) if key in _COUNTS else value for key, value in stage.scores.items()}
        fixed = {"stage_name": stage.name, "files": list(stage.files), "timestamp": stage.timestamp}
        stages[stage.name] = {**fixed, **scores}
    raw: dict[str, Any] = {"best_stage_name": result.best_stage_name, "model_stages": stages}
    if result.evaluate_config:
        raw["evaluate_config"] = dict(result.evaluate_config)
    if result.attachments:
        raw["attachments"] = {section: list(files) for section, files in result.attachments.items()}
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def parse_mining_result(text: str) -> list[tuple[str, float]]:
    """Reads result.tsv and returns it best first, ties by asset path; raises FormatError BAD_RESULT with the line."""
    scores: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        asset, _, score = line.rstrip("\r").rpartition("\t")
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not asset or not math.isfinite(value):
            raise FormatError("BAD_RESULT", "a line is an asset path, a tab and a score", _MINING, number)
        if asset in scores:
            raise FormatError("BAD_RESULT", f"{asset!r} has two scores", _MINING, number)
        scores[asset] = value
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def render_mining_result(scores: Iterable[tuple[str, float]]) -> str:
    """Returns result.tsv."""
    return "".join(f"{asset}\t{score!r}\n" for asset, score in scores)


def parse_inference_result(data: bytes | str) -> dict[str, tuple[Box, ...]]:
    """Reads infer-result.json with the key `boxes` or the legacy `annotations`, or a COCO document of segmentation.

    Raises:
        FormatError: BAD_RESULT.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError("BAD_RESULT", f"this is no JSON ({error})", _INFER) from error
    detection = raw.get("detection") if isinstance(raw, dict) else None
    if detection is None and is_segmentation(raw):
        return read_segmentation(raw)
    if not isinstance(detection, dict):
        message = "the key 'detection' is missing, and 'images' and 'categories' of a segmentation are so too"
        raise FormatError("BAD_RESULT", message, _INFER)
    return {PurePosixPath(str(name)).name: _detections(name, entry) for name, entry in detection.items()}


def _detections(name: str, entry: Any) -> tuple[Box, ...]:
    found = entry.get("boxes", entry.get("annotations")) if isinstance(entry, dict) else None
    if not isinstance(found, list):
        raise FormatError("BAD_RESULT", f"{name!r} has neither 'boxes' nor 'annotations'", _INFER)
    return tuple(_detection(name, item) for item in found)


def _detection(name: str, item: Any) -> Box:
    try:
        box = item["box"]
        x, y, w, h = (float(box[key]) for key in "xywh")
        score, rotation = float(item["score"]), float(box.get("rotate_angle") or 0.0)
        class_name = str(item["class_name"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError("BAD_RESULT", f"a box of {name!r} lacks or mistypes {error}", _INFER) from error
    if not all(map(math.isfinite, (x, y, w, h, score, rotation))) or not class_name:
        raise FormatError("BAD_RESULT", f"a box of {name!r} holds a value that is not a number", _INFER)
    return Box(class_name, x, y, w, h, score=score, rotation=rotation)


def render_inference_result(results: Mapping[str, Sequence[Box]]) -> str:
    """Returns infer-result.json: boxes by base name. The edges are kept as floats."""
    detection = {}
    for name, boxes in results.items():
        entries = []
        for box in boxes:
            place = {"x": box.x, "y": box.y, "w": box.w, "h": box.h}
            if box.rotation:
                place["rotate_angle"] = box.rotation
            entries.append({"box": place, "class_name": box.class_name, "score": box.score})
        detection[name] = {"boxes": entries}
    return json.dumps({"detection": detection}, ensure_ascii=False, allow_nan=False)


def parse_monitor(text: str) -> Monitor | None:
    """Reads monitor.txt; None when its first line is short, since images truncate and rewrite the file."""
    first, newline, rest = text.partition("\n")
    parts = first.rstrip("\r").split("\t")
    if len(parts) < 4:  # noqa: PLR2004 — task, time, fraction, state
        return None
    try:
        timestamp, fraction, state = float(parts[1]), float(parts[2]), int(parts[3])
    except ValueError:
        return None
    code = int(parts[4]) if len(parts) > 4 and parts[4].strip().isdigit() else None  # noqa: PLR2004 — optional fifth
    message = "\t".join(parts[5:]) or (rest.strip() if newline else "")
    if not math.isfinite(fraction) or not math.isfinite(timestamp):
        return None
    return Monitor(parts[0], timestamp, min(max(fraction, 0.0), 1.0), state, code, message)


def render_monitor(monitor: Monitor) -> str:
    """Returns monitor.txt."""
    head = f"{monitor.task_id}\t{monitor.timestamp:.6f}\t{monitor.fraction:.4f}\t{monitor.state}"
    message = " ".join(monitor.message.split())
    if monitor.code is not None:
        head += f"\t{monitor.code}\t{message}"
    return f"{head}\n{message}\n" if message else f"{head}\n"
