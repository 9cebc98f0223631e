"""Trainings: everything is checked before the task is made, so that a mistake costs a second."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_formats.protocol import LONGEST_SIDE, parse_config, render_config

from lodeworks_controller.domain.executor import Executor, ExecutorOperation
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.model import Model, ModelState, ModelVersion, Stage, Training
from lodeworks_controller.domain.project import Project
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef, Task
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.executor import (
    DEFAULT_TRAINER,
    ExecutorService,
    SettingsInForce,
    policy_spec,
    resources_of,
)
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.labelled import chosen_classes, parents_of, require_annotated, require_pictures
from lodeworks_controller.service.model import find_stage
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService

TRAIN: Final = "train"
MODEL_VERSION: Final = "model_version"
LOST_AFTER_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class TrainWish:
    """What a person wants trained; empty values mean the defaults."""

    train: str
    val: str
    name: str = ""
    class_names: tuple[str, ...] = ()
    executor: str = ""
    from_stage: str = ""
    gpus: int = 0
    longest_side_px: int = 0
    settings_yaml: str = ""
    options: TaskOptions = field(default_factory=TaskOptions)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A version in the making with its task; both are drafts after a dry run, which has no task id."""

    version: ModelVersion
    task_id: str


@dataclass(frozen=True, slots=True)
class _Checked:
    """A wish that stood every check."""

    project: Project
    executor: Executor
    settings: SettingsInForce
    training: Training
    class_names: tuple[str, ...]
    waits_for: tuple[str, ...]
    start: Stage | None


class TrainingService:
    """Makes training tasks."""

    def __init__(self, store: Store, *, tasks: TaskService, executors: ExecutorService, ids: Ids) -> None:
        self._store = store
        self._tasks = tasks
        self._executors = executors
        self._ids = ids

    async def train(
        self, principal: Principal, project: str, wish: TrainWish, *, dry_run: bool = False, request_id: str = ""
    ) -> Submitted:
        """Makes version N+1 of a model and the task that trains it; a dry run only checks."""
        if dry_run:
            async with self._store.snapshot() as tx:
                checked = await self._check(tx, principal, project, wish)
                draft = Model("", checked.project.id, check_name(wish.name or checked.project.name), tx.now())
                found = await tx.models.find(checked.project.id, draft.name)
                return Submitted(self._version(tx, found or draft, checked, principal), "")
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "model.train", request_id)
            made = await once.result(tx)
            if made is not None:
                await enter(tx, principal, project, ProjectRole.EDITOR)
                version = await tx.models.version(made)
                return Submitted(version, version.task_id)
            checked = await self._check(tx, principal, project, wish)
            model = await numbered_model(tx, checked.project, wish.name, ids=self._ids)
            version = self._version(tx, model, checked, principal)
            task = await self._tasks.submit(tx, _task(version, checked, wish, principal))
            version = replace(version, task_id=task.id)
            await tx.models.insert_version(version)
            await once.keep(tx, version.id)
            return Submitted(version, task.id)

    async def _check(self, tx: Transaction, principal: Principal, project: str, wish: TrainWish) -> _Checked:
        found = await enter(tx, principal, project, ProjectRole.EDITOR)
        if not wish.train or not wish.val:
            field = "val" if wish.train else "train"
            raise InvalidError("DATASET_MISSING", f"name the dataset to {field} on", field=field)
        if wish.gpus < 0 or wish.longest_side_px < 0:
            raise InvalidError("RESOURCES_INVALID", "numbers of GPUs and pixels are 0 or more", field="gpus")
        train, val = [await find_version(tx, found.id, text) for text in (wish.train, wish.val)]
        waits_for = parents_of([train, val])
        table = await class_table(tx, found.id)
        class_names = chosen_classes(table.class_map, wish.class_names)
        for version in (train, val):
            require_annotated(version)
        require_pictures(train, table, class_names)
        executor = await self._executors.find(tx, wish.executor or DEFAULT_TRAINER, project_id=found.id)
        settings = self._executors.in_force(executor, ExecutorOperation.TRAIN, wish.settings_yaml)
        if wish.longest_side_px:
            given = parse_config(settings.settings_yaml, file="settings")
            scaled = render_config({**given, LONGEST_SIDE: wish.longest_side_px})
            settings = replace(settings, settings_yaml=scaled)
        start_version, start = None, None
        if wish.from_stage:
            start_version, start = await find_stage(tx, found.id, wish.from_stage, with_onnx=False)
        training = Training(
            executor=executor.name,
            settings_yaml=settings.settings_yaml,
            train_version_id=train.id,
            train_name=train.full_name,
            val_version_id=val.id,
            val_name=val.full_name,
            class_revision=table.class_map.revision,
            from_stage="" if start_version is None or start is None else start_version.stage_name(start),
        )
        return _Checked(found, executor, settings, training, class_names, waits_for, start)

    def _version(self, tx: Transaction, model: Model, checked: _Checked, principal: Principal) -> ModelVersion:
        return ModelVersion(
            id=self._ids(),
            model_id=model.id,
            project_id=checked.project.id,
            name=model.name,
            number=max(1, model.last_number),
            state=ModelState.CREATING,
            class_names=checked.class_names,
            training=checked.training,
            created_by=principal.user_id,
            created_at=tx.now(),
        )


async def numbered_model(tx: Transaction, project: Project, name: str, *, ids: Ids) -> Model:
    """Returns the model that gets a version, made if new, with its next number taken; no name means the project's."""
    name = check_name(name or project.name)
    found = await tx.models.find(project.id, name)
    if found is None:
        model = Model(ids(), project.id, name, tx.now(), last_number=1)
        await tx.models.insert(model)
        return model
    model = replace(found, last_number=found.last_number + 1)
    await tx.models.put(model)
    return model


def _task(version: ModelVersion, checked: _Checked, wish: TrainWish, principal: Principal) -> NewTask:
    start: dict[str, Any] | None = None
    if checked.start is not None:
        files = [[file.name, file.digest, file.size_bytes] for file in checked.start.files]
        start = {"stage": checked.start.name, "files": files}
    return NewTask(
        kind=TRAIN,
        project_id=version.project_id,
        title=f"train {version.full_name}",
        spec={
            "model_version_id": version.id,
            "executor": checked.executor.name,
            "executor_id": checked.executor.id,
            "policy": policy_spec(checked.executor),
            "run": checked.executor.run_name,
            "object_type": checked.executor.object_type,
            "train_version_id": version.training.train_version_id,
            "val_version_id": version.training.val_version_id,
            "class_names": list(checked.class_names),
            "class_revision": version.training.class_revision,
            "settings_yaml": checked.settings.settings_yaml,
            "export_format": checked.settings.export_format,
            "start": start,
        },
        created_by=principal.user_id,
        depends_on=checked.waits_for,
        requires=frozenset({checked.executor.requires}),
        resources=resources_of(checked.executor, checked.settings, gpus=wish.gpus),
        subject=ObjectRef(MODEL_VERSION, version.id, version.full_name),
        options=wish.options,
        lost_after_s=LOST_AFTER_S,
    )


def trained(task: Task) -> str:
    """Returns the id of the model version that a training task makes."""
    return str(task.spec["model_version_id"])
