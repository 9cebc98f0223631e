"""Where a run finds its inputs and leaves its outputs: env.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lodeworks_executor.errors import BadSettingError, ErrorCode, ExecutorError

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
    values = read_flat_yaml(path)
    given_in, given_out = _section(values, "input", path), _section(values, "output", path)
    return Environment(
        protocol_version=str(values.get("protocol_version", "1.0.0")),
        task_id=str(values.get("task_id", "")),
        run_training=_flag(values, "run_training"),
        run_mining=_flag(values, "run_mining"),
        run_infer=_flag(values, "run_infer"),
        inputs=_inputs(given_in),
        outputs=_outputs(given_out),
    )


def read_flat_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds.

    Raises:
        ExecutorError: the file cannot be read or holds no mapping (code CONFIG).
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExecutorError(f"cannot read {path}: {error}", code=ErrorCode.CONFIG) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ExecutorError(f"{path} must hold keys and values", code=ErrorCode.CONFIG)
    return {str(key): value for key, value in values.items()}


def _section(values: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    section = values.get(key) or {}
    if not isinstance(section, dict):
        raise ExecutorError(f"{path}: {key} must hold keys and values", code=ErrorCode.CONFIG)
    return section


def _flag(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise BadSettingError(key, f"wants true or false, not {value!r}")
    return value


def _inputs(given: Mapping[str, Any]) -> InputPaths:
    root = Path(given.get("root_dir") or "/in")
    return InputPaths(
        root=root,
        assets=Path(given.get("assets_dir") or root / "assets"),
        annotations=Path(given.get("annotations_dir") or root / "annotations"),
        models=Path(given.get("models_dir") or root / "models"),
        training_index=_optional(given.get("training_index_file")),
        val_index=_optional(given.get("val_index_file")),
        candidate_index=_optional(given.get("candidate_index_file")),
        config=Path(given.get("config_file") or root / "config.yaml"),
    )


def _outputs(given: Mapping[str, Any]) -> OutputPaths:
    root = Path(given.get("root_dir") or "/out")
    models = Path(given.get("models_dir") or root / "models")
    return OutputPaths(
        root=root,
        models=models,
        tensorboard=Path(given.get("tensorboard_dir") or root / "tensorboard"),
        training_result=Path(given.get("training_result_file") or models / "result.yaml"),
        mining_result=Path(given.get("mining_result_file") or root / "result.tsv"),
        infer_result=Path(given.get("infer_result_file") or root / "infer-result.json"),
        monitor=Path(given.get("monitor_file") or root / "monitor.txt"),
        executor_log=Path(given.get("executor_log_file") or root / "ymir-executor-out.log"),
    )


def _optional(value: object) -> Path | None:
    return Path(str(value)) if value else None
