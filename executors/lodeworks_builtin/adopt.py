"""The built-in adopt: takes in a model that was trained elsewhere, as an ONNX file or as a YMIR model package.

Inputs by role: model (one file), options. Outputs: result, as a training leaves it, with the classes; stage/….
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadModelError, BadSettingError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.ymir_package import read_ymir_package
from lodeworks_formats.ymir_results import StageResult, TrainingResult

from lodeworks_builtin.adopting.network import describe
from lodeworks_builtin.model_source import given_files

if TYPE_CHECKING:
    from lodeworks_executor import Task

_STAGE = "imported"
_ONNX = "model.onnx"


def run(task: Task) -> None:
    """Proves a model and leaves it as stages that describe themselves.

    Raises:
        BadModelError: the file is no model, or the network does not answer as the options say.
        BadSettingError: an option is missing, unknown or out of range; the message says what there is.
    """
    options = _options(task)
    files = list(given_files(task))
    if len(files) != 1:
        raise BadModelError(f"one file is imported at a time, not {len(files)}")
    (path,) = files
    with tempfile.TemporaryDirectory(prefix="lodeworks-adopt-") as scratch:
        if path.suffix.lower() == ".onnx":
            classes, result = _from_onnx(task, path, options)
        else:
            classes, result = _from_package(task, path, options, scratch=Path(scratch))
    told = {**dataclasses.asdict(result), "class_names": list(classes)}
    task.output("result").write_bytes(canonical_json(told))
    task.progress(1.0, "done")


def _from_onnx(task: Task, path: Path, options: roles.AdoptOptions) -> tuple[tuple[str, ...], TrainingResult]:
    target = task.output(f"stage/{_STAGE}/{_ONNX}")
    classes = describe(path, target, options=options)
    return classes, TrainingResult(_STAGE, (StageResult(_STAGE, _STAGE, (_ONNX,)),))


def _from_package(
    task: Task, path: Path, options: roles.AdoptOptions, *, scratch: Path
) -> tuple[tuple[str, ...], TrainingResult]:
    """Takes every stage with its files; ONNX files that can be described become runnable, the rest is kept as it is."""
    try:
        package = read_ymir_package(path, scratch)
    except FormatError as error:
        raise BadModelError(
            f"{path.name} is neither an ONNX file nor a model package ({error}); export the model to ONNX"
        ) from error
    classes = package.class_names
    if not classes:
        raise BadModelError(f"{path.name} names no classes in its executor_config")
    described = dataclasses.replace(options, class_names=options.class_names or classes)
    for stage in package.result.stages:
        for name in stage.files:
            _take(scratch / stage.name / name, task.output(f"stage/{stage.name}/{name}"), options=described)
    return classes, package.result


def _take(source: Path, target: Path, *, options: roles.AdoptOptions) -> None:
    if source.suffix.lower() == ".onnx" and options.decoder:
        describe(source, target, options=options)
    else:
        shutil.copyfile(source, target)


def _options(task: Task) -> roles.AdoptOptions:
    try:
        return roles.AdoptOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
    except FormatError as error:
        raise BadSettingError("options", str(error)) from error
