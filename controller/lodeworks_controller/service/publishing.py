"""Publishing: a stage becomes a candidate release, converted, measured and guarded."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import parse_config
from lodeworks_formats.task_inputs import ConvertOptions

from lodeworks_controller.domain.algorithm import Release, ReleaseState, as_algorithm_name, check_algorithm_name
from lodeworks_controller.domain.dataset import DatasetVersion
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.model import ModelVersion, Stage
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.algorithm import next_release
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.labelled import parents_of, require_annotated
from lodeworks_controller.service.model import find_stage
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService

CONVERT: Final = "convert"
RELEASE: Final = "release"
DEFAULT_MAX_DROP: Final = 0.01
TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp16", "int8"),
}
"""What can be asked for; whether it can be made is for the worker's environment to say."""

_DEFAULT_TARGETS: Final = ("onnx", "openvino")
_DEFAULT_PRECISIONS: Final = ("fp32", "int8")
_OF_PLATFORM: Final = frozenset({"targets", "precisions", "max_drop", "name", "provenance"})


@dataclass(frozen=True, slots=True)
class PublishWish:
    """What a person wants published; empty values mean the defaults."""

    model: str
    name: str = ""
    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    calibrate: str = ""
    guard: str = ""
    max_drop: float = 0.0
    sign: bool = False
    settings_yaml: str = ""
    options: TaskOptions = field(default_factory=TaskOptions)


class PublishingService:
    """Makes conversion tasks."""

    def __init__(self, store: Store, *, tasks: TaskService, ids: Ids) -> None:
        self._store = store
        self._tasks = tasks
        self._ids = ids

    async def publish(self, principal: Principal, project: str, wish: PublishWish, *, request_id: str = "") -> Release:
        """Makes the next release of an algorithm and the task that builds it."""
        targets, precisions = _variants(wish)
        max_drop = wish.max_drop or DEFAULT_MAX_DROP
        if not 0.0 < max_drop <= 1.0:
            raise InvalidError("MAX_DROP_INVALID", "the largest drop is a number between 0 and 1", field="max_drop")
        async with self._store.transaction() as tx:
            role = ProjectRole.OWNER if wish.sign else ProjectRole.EDITOR
            found = await enter(tx, principal, project, role)
            once = Once(principal.actor, "model.publish", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.algorithms.release(made)
            version, stage = await find_stage(tx, found.id, wish.model, with_onnx=True)
            calibrate = await find_version(tx, found.id, wish.calibrate or version.training.train_version_id)
            guard = await find_version(tx, found.id, wish.guard or version.training.val_version_id)
            waits_for = parents_of([calibrate, guard])
            require_annotated(guard)
            name = check_algorithm_name(wish.name) if wish.name else as_algorithm_name(version.name)
            algorithm = await next_release(tx, found.id, name, ids=self._ids)
            release = Release(
                id=self._ids(),
                algorithm_id=algorithm.id,
                project_id=found.id,
                name=algorithm.name,
                number=algorithm.last_number,
                state=ReleaseState.CREATING,
                model_name=version.stage_name(stage),
                model_version_id=version.id,
                created_by=principal.user_id,
                created_at=tx.now(),
                class_names=version.class_names,
            )
            options = {
                **_options(wish.settings_yaml),
                "targets": list(targets),
                "precisions": list(precisions),
                "max_drop": max_drop,
                "name": algorithm.name,
                "provenance": await _provenance(tx, version, stage, calibrate, guard),
            }
            task = await self._tasks.submit(
                tx,
                _task(
                    release, version, stage, options=options, sets=(calibrate, guard), wish=wish, waits_for=waits_for
                ),
            )
            release = replace(release, task_id=task.id)
            await tx.algorithms.insert_release(release)
            await once.keep(tx, release.id)
            return release


def _task(
    release: Release,
    version: ModelVersion,
    stage: Stage,
    *,
    options: dict[str, Any],
    sets: tuple[DatasetVersion, DatasetVersion],
    wish: PublishWish,
    waits_for: tuple[str, ...],
) -> NewTask:
    assert stage.onnx is not None
    calibrate, guard = sets
    return NewTask(
        kind=CONVERT,
        project_id=release.project_id,
        title=f"publish {release.model_name} as {release.full_name}",
        spec={
            "release_id": release.id,
            "model_version_id": version.id,
            "model_name": release.model_name,
            "onnx": [stage.onnx.name, stage.onnx.digest, stage.onnx.size_bytes],
            "class_names": list(version.class_names),
            "calibrate_version_id": calibrate.id,
            "guard_version_id": guard.id,
            "guard_name": guard.full_name,
            "class_revision": version.training.class_revision,
            "options": options,
            "sign": wish.sign,
        },
        created_by=release.created_by,
        depends_on=waits_for,
        requires=frozenset({"builtin:convert"}),
        subject=ObjectRef(RELEASE, release.id, release.full_name),
        options=wish.options,
    )


def _variants(wish: PublishWish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the targets and precisions asked for, or refuses what nobody knows."""
    targets = tuple(dict.fromkeys(wish.targets)) or _DEFAULT_TARGETS
    precisions = tuple(dict.fromkeys(wish.precisions)) or _DEFAULT_PRECISIONS
    known = "; ".join(f"{target}: {', '.join(TARGETS[target])}" for target in TARGETS)
    for target in targets:
        if target not in TARGETS:
            raise InvalidError("TARGET_UNKNOWN", f"there is no target {target!r}; there are {known}", field="targets")
        if not set(TARGETS[target]) & set(precisions):
            message = f"{target} has none of {', '.join(precisions)}; there are {known}"
            raise InvalidError("TARGET_UNKNOWN", message, field="precisions")
    possible = {precision for target in targets for precision in TARGETS[target]}
    for precision in precisions:
        if precision not in possible:
            message = f"none of {', '.join(targets)} has {precision!r}; there are {known}"
            raise InvalidError("TARGET_UNKNOWN", message, field="precisions")
    return targets, precisions


def _options(settings_yaml: str) -> dict[str, Any]:
    """Returns the settings of the converters as JSON values, or raises InvalidError."""
    try:
        given = parse_config(settings_yaml, file="settings") if settings_yaml.strip() else {}
        taken = sorted(set(given) & _OF_PLATFORM)
        if taken:
            message = f"setting {taken[0]!r} is an option of publish itself"
            raise InvalidError("SETTING_RESERVED", message, field="settings")
        options = ConvertOptions.from_bytes(canonical_json(given))
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", error.message, field="settings") from error
    return {"calibration_pictures": options.calibration_pictures, "seed": options.seed}


async def _provenance(
    tx: Transaction, version: ModelVersion, stage: Stage, calibrate: DatasetVersion, guard: DatasetVersion
) -> str:
    """Returns what a package says of its origin: only what its inputs determine, so that equal inputs give its id."""
    assert stage.onnx is not None
    known = await tx.datasets.by_ids([version.training.train_version_id, version.training.val_version_id])
    by_role = {
        "train": known.get(version.training.train_version_id),
        "val": known.get(version.training.val_version_id),
        "calibration": calibrate,
        "guard": guard,
    }
    datasets = {
        role: {
            "name": found.full_name,
            "manifest_sha256": "" if found.content is None else found.content.manifest_digest,
        }
        for role, found in by_role.items()
        if found is not None
    }
    return canonical_json(
        {
            "model": version.stage_name(stage),
            "stage_sha256": stage.onnx.digest,
            "class_map_revision": version.training.class_revision,
            "datasets": datasets,
            "executor": version.training.executor,
        }
    ).decode()
