"""Where a run finds its inputs and leaves its outputs: env.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats import protocol
from lodeworks_formats.errors import FormatError

from lodeworks_executor.errors import ErrorCode, ExecutorError
from lodeworks_executor.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENV_FILE = Path("/in/env.yaml")


def env_file_path(environ: Mapping[str, str] | None = None) -> Path:
    """Returns the env.yaml of this run: LODE_ENV_FILE, else /in/env.yaml."""
    given = (os.environ if environ is None else environ).get("LODE_ENV_FILE", "")
    return Path(given) if given else DEFAULT_ENV_FILE


@dataclass(frozen=True, slots=True)
class InputPaths:
    """The inputs. An index that does not apply is None."""

    root: Path
    assets: Path
    annotations: Path
    models: Path
    training_index: Path | None
    val_index: Path | None
    candidate_index: Path | None
    config: Path


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The outputs."""

    root: Path
    models: Path
    tensorboard: Path
    training_result: Path
    mining_result: Path
    infer_result: Path
    monitor: Path
    executor_log: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """One run as env.yaml describes it."""

    protocol_version: str
    task_id: str
    run_training: bool
    run_mining: bool
    run_infer: bool
    inputs: InputPaths
    outputs: OutputPaths


def read_environment(path: Path) -> Environment:
    """Returns the environment of a run.

    Paths that env.yaml leaves out get their usual place under the root folders.

    Raises:
        ExecutorError: the file is not there or is not an env.yaml (code CONFIG).
    """
    try:
        given = protocol.parse_environment(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise ExecutorError(f"cannot read {path}: {error}", code=ErrorCode.CONFIG) from error
    return Environment(
        protocol_version=given.protocol_version,
        task_id=given.task_id,
        run_training=given.run_training,
        run_mining=given.run_mining,
        run_infer=given.run_infer,
        inputs=_inputs(given.input),
        outputs=_outputs(given.output),
    )


def read_settings(path: Path) -> Settings:
    """Returns the settings of a run from its config.yaml.

    Raises:
        ExecutorError: the file is not there or holds no keys and values (code CONFIG).
    """
    try:
        return Settings(protocol.parse_config(path.read_text(encoding="utf-8"), file=path.name))
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise ExecutorError(f"cannot read {path}: {error}", code=ErrorCode.CONFIG) from error


def _inputs(given: protocol.InputPaths) -> InputPaths:
    root = Path(given.root_dir or "/in")
    return InputPaths(
        root=root,
        assets=Path(given.assets_dir or root / "assets"),
        annotations=Path(given.annotations_dir or root / "annotations"),
        models=Path(given.models_dir or root / "models"),
        training_index=_optional(given.training_index_file),
        val_index=_optional(given.val_index_file),
        candidate_index=_optional(given.candidate_index_file),
        config=Path(given.config_file or root / "config.yaml"),
    )


def _outputs(given: protocol.OutputPaths) -> OutputPaths:
    root = Path(given.root_dir or "/out")
    models = Path(given.models_dir or root / "models")
    return OutputPaths(
        root=root,
        models=models,
        tensorboard=Path(given.tensorboard_dir or root / "tensorboard"),
        training_result=Path(given.training_result_file or models / "result.yaml"),
        mining_result=Path(given.mining_result_file or root / "result.tsv"),
        infer_result=Path(given.infer_result_file or root / "infer-result.json"),
        monitor=Path(given.monitor_file or root / "monitor.txt"),
        executor_log=Path(given.executor_log_file or root / "ymir-executor-out.log"),
    )


def _optional(text: str) -> Path | None:
    return Path(text) if text else None
