"""What the inputs of a grant mean for /in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lodeworks_formats import task_inputs
from lodeworks_formats.protocol import (
    INFER,
    LONGEST_SIDE,
    MINING,
    TRAINING,
    ExportFormat,
    compose_config,
    parse_config,
    render_size,
)

from lodeworks_worker.errors import InputError
from lodeworks_worker.grant import Grant, Input

_OPERATIONS = {"train": TRAINING, "mine": MINING, "infer": INFER}
_GIB = 1 << 30
_SHM_PER_GPU_BYTES = 16 * _GIB
_VIEWS = (
    task_inputs.TRAIN,
    task_inputs.VAL,
    task_inputs.CANDIDATE,
    task_inputs.VIEW,
    task_inputs.CALIBRATION,
    task_inputs.GUARD,
)
_MODEL_INFO = "ymir-info.yaml"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Roots:
    """Where /in and /out really are, and under which names the executor sees them."""

    folder: Path
    seen_in: str = "/in"
    seen_out: str = "/out"

    @staticmethod
    def mapped(folder: Path) -> "Roots":
        """Returns the roots of a program that sees the run's folder itself."""
        return Roots(folder=folder, seen_in=str(folder / "in"), seen_out=str(folder / "out"))


def protocol_operations(grant: Grant) -> frozenset[str]:
    """Returns which of training, mining and infer the run is, in the protocol's words."""
    return frozenset(_OPERATIONS[name] for name in grant.run.operations if name in _OPERATIONS)


def views(grant: Grant) -> list[Input]:
    """Returns the inputs whose pictures the executor gets. Evaluation compares boxes and needs no picture."""
    if "evaluate" in grant.run.operations:
        return []
    return [one for one in grant.run.inputs if one.role in _VIEWS]


def annotated(role: str) -> bool:
    """Whether a view comes with annotations."""
    return role in {task_inputs.TRAIN, task_inputs.VAL}


def index_name(role: str) -> str | None:
    """Returns the index file of a view's role."""
    names = {
        task_inputs.TRAIN: "train-index.tsv",
        task_inputs.VAL: "val-index.tsv",
        task_inputs.CANDIDATE: "candidate-index.tsv",
    }
    return names.get(role)


def below(role: str, prefix: str) -> PurePosixPath | None:
    """Returns what follows a prefix in a role, checked to stay below; None when the role has another prefix."""
    path = PurePosixPath(role)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] != prefix or len(path.parts) == 1:
        return None
    return PurePosixPath(*path.parts[1:])


def safe_role(role: str) -> PurePosixPath:
    """Returns a role as a path below /in/lode; raises InputError where it would leave it."""
    path = PurePosixPath(role)
    if not role or path.is_absolute() or ".." in path.parts:
        raise InputError(f"role {role!r} is no path below /in/lode")
    return path


def model_files(grant: Grant, *, roots: Roots) -> list[str]:
    """Returns the model's files as the executor sees them."""
    names = [below(one.role, task_inputs.MODEL) for one in grant.run.inputs]
    return [f"{roots.seen_in}/models/{name}" for name in names if name is not None and name.name != _MODEL_INFO]


def shm_bytes(grant: Grant) -> int:
    """Returns the shared memory of a run: as asked for, else 16 GiB per GPU and 16 GiB without."""
    return grant.run.resources.shm_bytes or _SHM_PER_GPU_BYTES * max(1, len(grant.gpu_uuids))


def settings_of(grant: Grant) -> dict[str, Any]:
    """Returns the settings as the user and the image's template gave them."""
    return parse_config(grant.run.settings_yaml, file="settings")


def export_format(grant: Grant, settings: Mapping[str, Any]) -> str:
    """Returns the export_format as told to the executor: the grant's, else the template's, else voc:raw."""
    return grant.run.export_format or str(settings.get("export_format") or "voc:raw")


def config(grant: Grant, *, roots: Roots) -> dict[str, Any]:
    """Returns config.yaml: the settings, then the platform's keys."""
    settings = settings_of(grant)
    wanted_format = export_format(grant, settings)
    ExportFormat.parse(wanted_format)
    operations = protocol_operations(grant)
    # Staging has obeyed these already, and an executor may refuse settings that it does not know.
    obeyed = {"export_format", "shm_size"} | ({LONGEST_SIDE} if TRAINING in operations else set())
    settings = {key: value for key, value in settings.items() if key not in obeyed}
    reserved: dict[str, Any] = {
        "task_id": grant.task_id,
        "class_names": list(grant.run.class_names),
        "gpu_id": ",".join(str(index) for index in range(len(grant.gpu_uuids))),
        "gpu_count": len(grant.gpu_uuids),
        "object_type": grant.run.object_type,
        "export_format": wanted_format,
        "shm_size": render_size(shm_bytes(grant)),
    }
    models = model_files(grant, roots=roots)
    if TRAINING in operations and models:
        reserved["pretrained_model_params"] = models
    if operations & {MINING, INFER}:
        reserved["model_params_path"] = models
        reserved["run_mining"] = MINING in operations
        reserved["run_infer"] = INFER in operations
    if any(one.role.partition("/")[0] == CHECKPOINT for one in grant.run.inputs):
        reserved["resume"] = True
    return compose_config({}, settings, reserved)


def longest_side_px(grant: Grant) -> int:
    """Returns what the pictures of a training are scaled to; 0 leaves them as they are."""
    if TRAINING not in protocol_operations(grant):
        return 0
    value = settings_of(grant).get(LONGEST_SIDE, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"setting {LONGEST_SIDE} must be a number of pixels, not {value!r}")
    return value
