"""The executor protocol's own files: env.yaml, config.yaml, index files, export_format (YMIR protocol 1.1.0).

What others call:

    Environment.at(task_id, operations={"training"}, input_root="/in", output_root="/out") -> Environment
    render_environment(environment) -> str        parse_environment(text) -> Environment
    compose_config(template, settings, reserved) -> dict       check_settings(settings) refuses RESERVED_KEYS
    render_config(config) -> str                  parse_config(text) -> dict
    render_index([(asset, annotation | None), ...]) -> str     parse_index(text) -> list[(asset, annotation | None)]
    ExportFormat.parse("voc:raw") -> ExportFormat(annotation="voc", image="raw")
    parse_size("16G") -> 17179869184              render_size(17179869184) -> "16G"        (shm_size)
    asset_path("<hash>.jpg") -> "3f/<hash>.jpg"   (below /in/assets; the same for annotations)
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

import yaml

from lodeworks_formats.errors import FormatError

PROTOCOL_VERSION = "1.1.0"

TRAINING, MINING, INFER = "training", "mining", "infer"

RESERVED_KEYS = (
    "task_id",
    "class_names",
    "gpu_id",
    "gpu_count",
    "object_type",
    "pretrained_model_params",
    "model_params_path",
    "run_mining",
    "run_infer",
    "export_format",
    "shm_size",
    "git_url",
    "git_branch",
    "code_config",
    "resume",
)
"""Keys of config.yaml that only the platform sets; an image's template may ask for export_format and shm_size."""

LONGEST_SIDE = "longest_side"
"""A setting of trainings that the platform obeys itself: pictures are scaled down to it. Executors never see it."""

ANNOTATION_FORMATS = ("ark", "voc", "coco", "none")
_SAME_FORMAT = {"det-ark": "ark", "det-voc": "voc", "seg-coco": "coco"}


@dataclass(frozen=True, slots=True)
class InputPaths:
    """The section `input` of env.yaml; an index file that does not apply is ''."""

    root_dir: str
    assets_dir: str
    annotations_dir: str
    models_dir: str
    training_index_file: str
    val_index_file: str
    candidate_index_file: str
    config_file: str


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The section `output` of env.yaml."""

    root_dir: str
    models_dir: str
    tensorboard_dir: str
    training_result_file: str
    mining_result_file: str
    infer_result_file: str
    monitor_file: str
    executor_log_file: str


@dataclass(frozen=True, slots=True)
class Environment:
    """One run as env.yaml describes it."""

    task_id: str
    run_training: bool
    run_mining: bool
    run_infer: bool
    input: InputPaths
    output: OutputPaths
    manifest_file: str = "/img-man/manifest.yaml"
    protocol_version: str = PROTOCOL_VERSION

    @staticmethod
    def at(
        task_id: str, *, operations: AbstractSet[str], input_root: str = "/in", output_root: str = "/out"
    ) -> "Environment":
        """Returns the environment of a run with its folders at the given roots.

        Args:
            task_id: The task.
            operations: Any of training, mining and infer.
            input_root: /in, or the folder that stands for it without a container.
            output_root: /out, likewise.
        """
        source, sink = PurePosixPath(input_root), PurePosixPath(output_root)
        training, candidates = TRAINING in operations, bool(operations & {MINING, INFER})
        return Environment(
            task_id=task_id,
            run_training=training,
            run_mining=MINING in operations,
            run_infer=INFER in operations,
            input=InputPaths(
                root_dir=str(source),
                assets_dir=str(source / "assets"),
                annotations_dir=str(source / "annotations"),
                models_dir=str(source / "models"),
                training_index_file=str(source / "train-index.tsv") if training else "",
                val_index_file=str(source / "val-index.tsv") if training else "",
                candidate_index_file=str(source / "candidate-index.tsv") if candidates else "",
                config_file=str(source / "config.yaml"),
            ),
            output=OutputPaths(
                root_dir=str(sink),
                models_dir=str(sink / "models"),
                tensorboard_dir=str(sink / "tensorboard"),
                training_result_file=str(sink / "models/result.yaml"),
                mining_result_file=str(sink / "result.tsv"),
                infer_result_file=str(sink / "infer-result.json"),
                monitor_file=str(sink / "monitor.txt"),
                executor_log_file=str(sink / "ymir-executor-out.log"),
            ),
        )


def render_environment(environment: Environment) -> str:
    """Returns env.yaml."""
    raw = asdict(environment)
    first = ("protocol_version", "task_id", "run_training", "run_mining", "run_infer", "manifest_file")
    return _dump({**{key: raw.pop(key) for key in first}, **raw})


def parse_environment(text: str) -> Environment:
    """Reads env.yaml; keys of later protocols are ignored. Raises FormatError BAD_ENVIRONMENT."""
    raw = _mapping(text, reason="BAD_ENVIRONMENT", file="env.yaml")
    sections: dict[str, Any] = {}
    for name, kind in (("input", InputPaths), ("output", OutputPaths)):
        section = raw.get(name)
        if not isinstance(section, dict):
            raise FormatError("BAD_ENVIRONMENT", f"the section {name!r} is missing", "env.yaml")
        sections[name] = kind(**{field.name: str(section.get(field.name) or "") for field in fields(kind)})
    return Environment(
        task_id=str(raw.get("task_id", "")),
        run_training=bool(raw.get("run_training", False)),
        run_mining=bool(raw.get("run_mining", False)),
        run_infer=bool(raw.get("run_infer", False)),
        manifest_file=str(raw.get("manifest_file", "")),
        protocol_version=str(raw.get("protocol_version", "1.0.0")),
        **sections,
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuses a user's setting of a key that the platform sets (FormatError RESERVED_SETTING)."""
    if taken := [key for key in settings if key in RESERVED_KEYS]:
        reserved = ", ".join(RESERVED_KEYS)
        raise FormatError("RESERVED_SETTING", f"setting {taken[0]!r} is made by the platform; reserved are {reserved}")


def compose_config(
    template: Mapping[str, Any], settings: Mapping[str, Any], reserved: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns config.yaml as a dict: the image's template, then the user's settings, then the platform's keys."""
    check_settings(settings)
    return {**template, **settings, **reserved}


def render_config(config: Mapping[str, Any]) -> str:
    """Returns config.yaml."""
    return _dump(dict(config))


def parse_config(text: str, *, file: str = "config.yaml") -> dict[str, Any]:
    """Reads a flat YAML mapping with string keys; raises FormatError BAD_CONFIG."""
    return _mapping(text, reason="BAD_CONFIG", file=file)


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str | int) -> int:
    """Reads a size in bytes such as 512m, 16G or 1073741824; raises FormatError BAD_SIZE."""
    number, unit = str(text).strip().upper().removesuffix("B").removesuffix("I"), ""
    if number[-1:] in _UNITS:
        number, unit = number[:-1], number[-1:]
    if not (number.isascii() and number.isdigit()):
        raise FormatError("BAD_SIZE", f"{text!r} is no size; write it as 512M, 16G or a number of bytes")
    return int(number) * _UNITS[unit]


def render_size(size_bytes: int) -> str:
    """Returns a size with the largest unit that it is a whole number of."""
    for unit in ("T", "G", "M", "K"):
        if size_bytes and size_bytes % _UNITS[unit] == 0:
            return f"{size_bytes // _UNITS[unit]}{unit}"
    return str(size_bytes)


def render_index(lines: Iterable[tuple[str, str | None]]) -> str:
    """Returns an index file: asset path and, where there is one, TAB and annotation path."""
    return "".join(f"{asset}\n" if note is None else f"{asset}\t{note}\n" for asset, note in lines)


def parse_index(text: str, *, file: str = "") -> list[tuple[str, str | None]]:
    """Reads an index file; raises FormatError BAD_INDEX with the line."""
    rows: list[tuple[str, str | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        asset, tab, note = line.strip("\r").partition("\t")
        if not asset or "\t" in note or (tab and not note):
            raise FormatError("BAD_INDEX", "an index line is an asset path or two paths with a tab", file, number)
        rows.append((asset, note or None))
    return rows


def asset_path(name: str) -> str:
    """Returns where a base name lies below its folder: last two letters of its stem, then the name."""
    return f"{name.rpartition('.')[0][-2:]}/{name}"


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """What an executor wants its training data to look like: ark, voc, coco or none, and raw pictures."""

    annotation: str = "voc"
    image: str = "raw"

    @staticmethod
    def parse(text: str | None) -> "ExportFormat":
        """Reads an export_format such as det-voc:raw, case-insensitively. Raises FormatError BAD_EXPORT_FORMAT."""
        annotation, _, image = (text or "voc:raw").strip().lower().partition(":")
        annotation = _SAME_FORMAT.get(annotation, annotation)
        if annotation not in ANNOTATION_FORMATS or image not in ("", "raw"):
            known = ", ".join((*ANNOTATION_FORMATS, *_SAME_FORMAT))
            raise FormatError("BAD_EXPORT_FORMAT", f"export_format {text!r} is unknown; use <one of {known}>:raw")
        return ExportFormat(annotation, "raw")


def _dump(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=1 << 30)


def _mapping(text: str, *, reason: str, file: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise FormatError(reason, "this is no YAML", file, line) from error
    except (RecursionError, ValueError) as error:
        raise FormatError(reason, f"this is no YAML ({error})", file) from error
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise FormatError(reason, "the file must hold keys and values", file)
    return raw
