"""YMIR's model package: a tar(.gz) with ymir-info.yaml and the files of each stage.

What others call:

    read_ymir_package(tar, folder) -> YmirPackage     extracts `<stage>/<file>` safely; older forms are migrated
    write_ymir_package(tar, package, folder)          from a folder with `<stage>/<file>`
    parse_ymir_info(text) -> YmirPackage              render_ymir_info(package) -> str
"""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from lodeworks_formats.archive_members import extract_member
from lodeworks_formats.archive_names import safe_name
from lodeworks_formats.errors import FormatError
from lodeworks_formats.ymir_results import (
    LEGACY_STAGE,
    StageResult,
    TrainingResult,
    parse_training_result,
    render_training_result,
)

INFO_NAME = "ymir-info.yaml"
PACKAGE_VERSION = "2.0.0"

_READABLE = ("2.0.0", "2.0.1", "2.0.2")
_MAX_INFO_BYTES = 4 << 20
_MAX_TOTAL_BYTES = 1 << 38


@dataclass(frozen=True, slots=True)
class YmirPackage:
    """A model as YMIR packs it.

    Attributes:
        executor_config: The settings it was trained with, class_names among them.
        result: Stages, best stage, attachments, evaluation settings.
        task_context: Where it comes from.
        object_type: 2 detection, 3 semantic, 4 instance segmentation.
    """

    executor_config: Mapping[str, Any]
    result: TrainingResult
    task_context: Mapping[str, Any] = field(default_factory=dict)
    object_type: int = 2

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes the model knows, in its order."""
        names = self.executor_config.get("class_names") or ()
        return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def parse_ymir_info(text: str) -> YmirPackage:
    """Reads ymir-info.yaml of 2.0.0 to 2.0.2, or the older {executor_config, models}; FormatError BAD_MODEL."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatError("BAD_MODEL", "this is no YAML", INFO_NAME) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("executor_config"), dict):
        raise FormatError("BAD_MODEL", "executor_config is missing", INFO_NAME)
    version = str(raw.get("package_version", ""))
    if "models" in raw and "stages" not in raw:
        form: dict[str, Any] = {"model": raw["models"], "map": (raw.get("task_context") or {}).get("mAP")}
    elif version in _READABLE:
        form = {"model_stages": raw.get("stages"), "best_stage_name": raw.get("best_stage_name")}
        form |= {key: raw.get(key) for key in ("attachments", "evaluate_config")}
    else:
        readable = ", ".join(_READABLE)
        raise FormatError("BAD_MODEL", f"package_version {version!r} is none of {readable}", INFO_NAME)
    try:
        result = parse_training_result(yaml.safe_dump(form))
    except FormatError as error:
        raise FormatError("BAD_MODEL", error.message, INFO_NAME) from error
    context = raw.get("task_context")
    kind = raw.get("object_type", 2)
    return YmirPackage(
        raw["executor_config"],
        result,
        context if isinstance(context, dict) else {},
        kind if isinstance(kind, int) else 2,
    )


def render_ymir_info(package: YmirPackage) -> str:
    """Returns ymir-info.yaml of 2.0.0."""
    result = yaml.safe_load(render_training_result(package.result))
    raw = {
        "executor_config": dict(package.executor_config),
        "task_context": dict(package.task_context),
        "stages": result["model_stages"],
        "best_stage_name": result["best_stage_name"],
        "attachments": result.get("attachments", {}),
        "evaluate_config": result.get("evaluate_config", {}),
        "object_type": package.object_type,
        "package_version": PACKAGE_VERSION,
    }
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def read_ymir_package(tar: Path, folder: Path) -> YmirPackage:
    """Extracts a package's stages to `<folder>/<stage>/<file>` and returns what it says.

    Files of the older form, which lie at the top, go to the folder of their one stage.

    Raises:
        FormatError: BAD_MODEL, UNSAFE_NAME, LINK or BOMB; files of other names are left in the tar.
    """
    try:
        with tarfile.open(tar) as archive:
            members = _members(archive)
            info = members.get(INFO_NAME)
            if info is None or info.size > _MAX_INFO_BYTES:
                raise FormatError("BAD_MODEL", f"the tar holds no {INFO_NAME}; is it a model package?", tar.name)
            package = parse_ymir_info(_read(archive, info).decode("utf-8", "replace"))
            for stage in package.result.stages:
                _extract_stage(archive, members, stage, folder)
            for section, files in package.result.attachments.items():
                for name in files:
                    if member := members.get(f"attachments/{section}/{name}"):
                        extract_member(archive, member, folder / "attachments" / section / name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FormatError("BAD_MODEL", f"this is no tar that can be read ({error})", tar.name) from error
    return package


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    total = 0
    for member in archive:
        if member.isdir():
            continue
        name = safe_name(member.name)
        if not member.isreg():
            raise FormatError("LINK", "a model package holds plain files only", name)
        total += member.size
        if total > _MAX_TOTAL_BYTES:
            raise FormatError("BOMB", "the package unpacks to more than is allowed", name)
        members[name] = member
    return members


def _extract_stage(
    archive: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], stage: StageResult, folder: Path
) -> None:
    for name in stage.files:
        at_top = name if stage.name == LEGACY_STAGE else ""
        member = members.get(f"{stage.given_name}/{name}") or members.get(at_top)
        if member is None:
            raise FormatError("BAD_MODEL", f"the file {name!r} of stage {stage.name!r} is missing", stage.given_name)
        extract_member(archive, member, folder / stage.name / name)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(member)
    assert source is not None
    return source.read()


def write_ymir_package(tar: Path, package: YmirPackage, folder: Path) -> None:
    """Writes a package from `<folder>/<stage>/<file>`; the same files give the same bytes."""
    info = render_ymir_info(package).encode()
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, INFO_NAME, io.BytesIO(info), len(info))
        names = [PurePosixPath(stage.name) / name for stage in package.result.stages for name in stage.files]
        for section, files in package.result.attachments.items():
            names += [PurePosixPath("attachments") / section / name for name in files]
        for name in names:
            path = folder / name
            with path.open("rb") as stream:
                _add(archive, str(name), stream, path.stat().st_size)


def _add(archive: tarfile.TarFile, name: str, stream: Any, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    archive.addfile(member, stream)
