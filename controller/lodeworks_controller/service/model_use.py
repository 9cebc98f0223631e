"""Which model runs: a stage's own ONNX, a package of a release, or a stage as a foreign executor wants it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.manifest import canonical_json, sha256_hex

from lodeworks_controller.domain.algorithm import as_algorithm_name
from lodeworks_controller.domain.model import Stage
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.algorithm import find_release
from lodeworks_controller.service.model import find_stage
from lodeworks_controller.service.store import Transaction

_PACKED = "package.tar"
_CLASS_AP = "AP50/"


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model as a task uses it; ``files`` are (role, digest, size) of its inputs."""

    model_version_id: str
    model_name: str
    key: str
    variant: str
    class_names: tuple[str, ...]
    files: tuple[tuple[str, str, int], ...]
    val_version_id: str
    train_version_id: str
    class_ap: Mapping[str, float] = field(default_factory=dict)
    """AP at IoU 0.5 of each class, where the training measured it."""

    def to_spec(self) -> dict[str, Any]:
        """Returns what a task's spec says of it."""
        return {
            "model_version_id": self.model_version_id,
            "model_name": self.model_name,
            "key": self.key,
            "variant": self.variant,
            "class_names": list(self.class_names),
            "files": [list(file) for file in self.files],
        }


async def model_use(
    tx: Transaction,
    project_id: str,
    model: str,
    *,
    variant: str = "",
    algorithm: str = "",
    with_onnx: bool = True,
) -> ModelUse:
    """Returns the stage that a name means, or the package of it that the variant names."""
    if not model:
        raise InvalidError("MODEL_MISSING", "name the model", field="model")
    version, stage = await find_stage(tx, project_id, model, with_onnx=with_onnx and not variant)
    key, files = _stage_key(stage), _stage_files(stage, alone=with_onnx)
    if variant:
        release = await find_release(tx, project_id, algorithm or as_algorithm_name(version.name))
        package = next((one for one in release.packages if one.variant == variant), None)
        if package is None:
            there = ", ".join(one.variant for one in release.packages) or "none"
            message = f"{release.full_name} has no variant {variant!r}; it has: {there}"
            raise InvalidError("VARIANT_UNKNOWN", message, field="variant")
        key = package.id
        files = ((f"{roles.MODEL}/{_PACKED}", package.archive_digest, package.archive_size_bytes),)
    return ModelUse(
        model_version_id=version.id,
        model_name=version.stage_name(stage),
        key=key,
        variant=variant,
        class_names=version.class_names,
        files=files,
        val_version_id=version.training.val_version_id,
        train_version_id=version.training.train_version_id,
        class_ap={
            name: stage.metrics[f"{_CLASS_AP}{name}"]
            for name in version.class_names
            if f"{_CLASS_AP}{name}" in stage.metrics
        },
    )


async def trainer_of(tx: Transaction, project_id: str, model: str) -> tuple[str, bool]:
    """Returns which executor trained the stage that a name means, and whether the platform's own executors run it."""
    version, stage = await find_stage(tx, project_id, model, with_onnx=False)
    return version.training.executor, stage.onnx is not None


def settings_digest(executor: str, settings: Mapping[str, Any]) -> str:
    """Returns what tells apart predictions of one model made with different settings."""
    return sha256_hex(canonical_json({"executor": executor, "settings": dict(settings)}))


def files_of(spec: Mapping[str, Any]) -> Sequence[tuple[str, str, int]]:
    """Returns (role, digest, size) of a model's inputs from a task's spec."""
    return [(str(role), str(digest), int(size)) for role, digest, size in spec["files"]]


def _stage_key(stage: Stage) -> str:
    if stage.onnx is not None:
        return stage.onnx.digest
    return sha256_hex(canonical_json(sorted(file.digest for file in stage.files)))


def _stage_files(stage: Stage, *, alone: bool) -> tuple[tuple[str, str, int], ...]:
    """Returns the ONNX file alone, as our own executors take it, or every file in the stage's folder."""
    if alone and stage.onnx is not None:
        return ((f"{roles.MODEL}/{stage.onnx.name}", stage.onnx.digest, stage.onnx.size_bytes),)
    return tuple((f"{roles.MODEL}/{stage.name}/{file.name}", file.digest, file.size_bytes) for file in stage.files)
