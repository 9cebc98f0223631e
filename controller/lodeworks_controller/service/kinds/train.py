"""The kind `train`: views in, stages out; what is left of one that ended early is kept."""

from collections.abc import Sequence
from typing import Any

from lodeworks_formats import task_inputs as roles

from lodeworks_controller.domain.model import ModelState
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.domain.view import View
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.executor import run_policy
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.kinds.stages import CHECKPOINT, RESULT_SLOT, STAGE_SLOT, StageIntake, stages_of
from lodeworks_controller.service.labelled import require_annotated, require_pictures
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.training import TRAIN, trained
from lodeworks_controller.service.view import ViewService

_OUTPUTS = (
    RESULT_SLOT,
    STAGE_SLOT,
    OutputSlot("attachment/*"),
    OutputSlot("tensorboard/*"),
    OutputSlot(CHECKPOINT),
)


class TrainKind:
    """Trainings."""

    name = TRAIN

    def __init__(self, store: Store, *, intake: StageIntake, views: ViewService) -> None:
        self._store = store
        self._intake = intake
        self._views = views

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: both views at the class revision of the wish, and the stage to start from."""
        spec = task.spec
        class_names = tuple(spec["class_names"])
        async with self._store.transaction() as tx:
            made = await tx.models.version(trained(task))
            if made.state is not ModelState.CREATING:
                await tx.models.put_version(made.again())  # the task is tried again
            table = await class_table(tx, task.project_id, revision=spec["class_revision"])
            for key in ("train_version_id", "val_version_id"):
                version = await tx.datasets.version(spec[key])
                require_annotated(version)
                if key == "train_version_id":
                    require_pictures(version, table, class_names)
        train = await self._view(spec["train_version_id"], spec)
        val = await self._view(spec["val_version_id"], spec)
        start = spec.get("start") or {"stage": "", "files": ()}
        return RunSpec(
            executor=spec["run"],
            operations=(TRAIN,),
            class_names=class_names,
            settings_yaml=spec["settings_yaml"],
            inputs=(
                Input(roles.TRAIN, train.digest, train.size_bytes),
                Input(roles.VAL, val.digest, val.size_bytes),
                *(
                    Input(f"{roles.MODEL}/{start['stage']}/{name}", digest, size)
                    for name, digest, size in start["files"]
                ),
            ),
            outputs=_OUTPUTS,
            resources=task.resources,
            limits=task.limits,
            export_format=spec["export_format"],
            object_type=spec["object_type"],
            policy=run_policy(spec),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks that every stage of the result has its files; the version becomes READY."""
        told = await self._intake.result(outputs)
        if not stages_of(told, outputs):
            raise BadOutputError("the training left no stage; an executor writes at least one", file="result.yaml")

        async def commit(tx: Transaction) -> Product:
            return await self._intake.complete(tx, await tx.models.version(trained(task)), outputs, told)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the version PARTIAL with the stages written so far, FAILED without any."""
        return await self._intake.end_early(tx, await tx.models.version(trained(task)), outputs, reason)

    async def _view(self, version_id: str, spec: Any) -> View:
        return await self._views.resolve(
            version_id, selection=ClassSelection(tuple(spec["class_names"])), revision=spec["class_revision"]
        )
