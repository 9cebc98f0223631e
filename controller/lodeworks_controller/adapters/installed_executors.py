"""The executors that come with the platform, and the settings templates that lie beside their programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from lodeworks_formats.protocol import render_config
from lodeworks_formats.task_inputs import InferOptions, MineOptions

from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation

_TRAINER: Final = "detector"
_TEMPLATES: Final[Mapping[ExecutorOperation, str]] = {
    ExecutorOperation.TRAIN: "training-template.yaml",
    ExecutorOperation.MINE: "mining-template.yaml",
    ExecutorOperation.INFER: "infer-template.yaml",
}


def shipped_executors(*, created_at: datetime) -> Sequence[Executor]:
    """Returns the default trainer and the built-in mine and infer.

    The trainer's program need not be runnable here: only its templates are read, and without importing it.
    """
    folder = _beside("lodeworks_detector")
    templates = {
        operation: (folder / name).read_text(encoding="utf-8")
        for operation, name in _TEMPLATES.items()
        if folder is not None and (folder / name).is_file()
    }
    mine = {key: value for key, value in asdict(MineOptions()).items() if key not in {"strategy", "top_k"}}
    return (
        Executor(_TRAINER, _TRAINER, ExecutorKind.PROCESS, templates, created_at),
        _builtin("mine", ExecutorOperation.MINE, render_config(mine), created_at=created_at),
        _builtin("infer", ExecutorOperation.INFER, render_config(asdict(InferOptions())), created_at=created_at),
    )


def _builtin(name: str, operation: ExecutorOperation, template: str, *, created_at: datetime) -> Executor:
    return Executor(name, name, ExecutorKind.BUILTIN, {operation: template}, created_at)


def _beside(package: str) -> Path | None:
    found = find_spec(package)
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places))) / "img-man" if places else None
