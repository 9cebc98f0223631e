"""The model that a run was given: an ONNX file that describes itself, or a package."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadModelError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.package import MANIFEST_NAME, unpack
from lodeworks_runtime import Algorithm, AlgorithmError, load_onnx, load_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lodeworks_executor import Task


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the model lies: a package's folder, or one ONNX file."""

    path: Path

    @property
    def is_package(self) -> bool:
        """Whether it is a package."""
        return self.path.is_dir()

    def load(self) -> Algorithm:
        """Returns a fresh algorithm on one thread; raises BadModelError.

        One thread each, and several algorithms where there are several cores: so the answer is the one that a device
        gives, and a picture costs less than with threads that wait for each other.
        """
        try:
            return load_package(self.path) if self.is_package else load_onnx(self.path)
        except AlgorithmError as error:
            raise BadModelError(str(error)) from error


def find_model(task: Task, *, scratch: Path) -> ModelSource:
    """Returns the model of a run; a packed package is unpacked into `scratch`.

    Raises:
        BadModelError: there is no model, none that can be run, or several and none is named `best`.
    """
    files = list(given_files(task))
    for path in files:
        if path.name == MANIFEST_NAME:
            return ModelSource(path.parent)
    onnx = [path for path in files if path.suffix == ".onnx"]
    if onnx:
        return ModelSource(_one(onnx))
    for path in files:
        if tarfile.is_tarfile(path):
            try:
                unpack(path, scratch)
            except FormatError as error:
                raise BadModelError(f"the package cannot be used: {error}") from error
            return ModelSource(scratch)
    names = ", ".join(path.name for path in files) or "nothing"
    raise BadModelError(
        f"the model has no ONNX file and is no package (it has {names}): export the stage to ONNX first"
    )


def has_model(task: Task) -> bool:
    """Returns whether a run was given a model at all."""
    return next(given_files(task), None) is not None


def given_files(task: Task) -> Iterator[Path]:
    """Yields the files of the model that a run was given."""
    if task.has_role(roles.MODEL):
        root = task.role(roles.MODEL)
        yield from sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    else:
        yield from task.models()


def _one(files: list[Path]) -> Path:
    best = [path for path in files if path.stem == "best"]
    if len(files) == 1 or len(best) == 1:
        return files[0] if len(files) == 1 else best[0]
    raise BadModelError(
        f"the model has several ONNX files ({', '.join(path.name for path in files)}): keep one, or name one best.onnx"
    )
