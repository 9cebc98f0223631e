"""What a training leaves: stages, attachments, TensorBoard files, a checkpoint."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.ymir_results import StageResult, TrainingResult, parse_training_result

from lodeworks_worker.errors import OutputError
from lodeworks_worker.harvest.checkpoint import pack_checkpoint
from lodeworks_worker.harvest.found import Found, is_regular, regular_files

_RESULT = "models/result.yaml"


def training_outputs(out: Path, *, scratch: Path, complete: bool) -> list[Found]:
    """Returns the outputs of a training: `result`, `stage/…`, `attachment/…`, `tensorboard/…`, `checkpoint`.

    Args:
        out: The run's /out.
        scratch: Where files may be made.
        complete: Whether all that result.yaml names must be there. Of a run that was ended early, the stages that
            are whole are kept.

    Raises:
        OutputError: result.yaml or a file that it names cannot be used.
    """
    found = [Found(f"tensorboard/{path.relative_to(out / 'tensorboard')}", path) for path in _events(out)]
    if pack_checkpoint(out / "lode" / "checkpoint", scratch / "checkpoint.tar"):
        found.append(Found("checkpoint", scratch / "checkpoint.tar"))
    result = _result(out, complete=complete)
    if result is None:
        return found
    stages = [stage for stage in result.stages if complete or all(_file(out, stage, name) for name in stage.files)]
    if not stages:
        return found
    kept = _with_stages(result, stages)
    for stage in kept.stages:
        for name in stage.files:
            path = _file(out, stage, name)
            if path is None:
                raise OutputError(f"stage {stage.given_name!r} names {name!r}, which is not there", file=_RESULT)
            found.append(Found(f"stage/{stage.name}/{name}", path))
    found += _attachments(out, kept)
    told = scratch / "result.json"
    told.write_bytes(canonical_json(dataclasses.asdict(kept)))
    found.append(Found("result", told))
    return found


def _result(out: Path, *, complete: bool) -> TrainingResult | None:
    path = out / _RESULT
    if not is_regular(path, within=out):
        return None
    try:
        return parse_training_result(path.read_text(encoding="utf-8"))
    except (FormatError, UnicodeDecodeError) as error:
        if not complete:
            return None
        line = error.line if isinstance(error, FormatError) else None
        raise OutputError(str(error), file=_RESULT, line=line or 0) from error


def _with_stages(result: TrainingResult, stages: list[StageResult]) -> TrainingResult:
    names = [stage.name for stage in stages]
    best = result.best_stage_name if result.best_stage_name in names else names[-1]
    return dataclasses.replace(result, stages=tuple(stages), best_stage_name=best)


def _file(out: Path, stage: StageResult, name: str) -> Path | None:
    """Finds a stage's file in its folder, or, as old images left it, straight in models."""
    for path in (out / "models" / stage.given_name / name, out / "models" / name):
        if is_regular(path, within=out):
            return path
    return None


def _attachments(out: Path, result: TrainingResult) -> Iterator[Found]:
    for section, names in result.attachments.items():
        for name in names:
            path = out / "models" / "attachments" / section / name
            if is_regular(path, within=out):
                yield Found(f"attachment/{section}/{name}", path)


def _events(out: Path) -> list[Path]:
    return regular_files(out / "tensorboard")
