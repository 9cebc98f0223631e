"""The kind `train`: views in, stages out; what is left of one that ended early is kept."""

import json
from collections.abc import Sequence
from typing import Any

from lodeworks_formats import task_inputs as roles

from lodeworks_controller.domain.lineage import DATASET_VERSION, MODEL_VERSION, Edge, Node
from lodeworks_controller.domain.model import ModelState, ModelVersion, Stage, StageFile
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.domain.view import View
from lodeworks_controller.errors import BadOutputError, LodeworksError
from lodeworks_controller.service.content import BlobStore, project_scope
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.labelled import require_annotated, require_pictures
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.training import TRAIN, trained
from lodeworks_controller.service.view import ViewService

RESULT = "result"
_STAGE = "stage/"
_MAX_RESULT_BYTES = 8 << 20
_STAGE_PARTS = 3
_OUTPUTS = (
    OutputSlot(RESULT, required=True, max_bytes=_MAX_RESULT_BYTES),
    OutputSlot("stage/*"),
    OutputSlot("attachment/*"),
    OutputSlot("tensorboard/*"),
    OutputSlot("checkpoint"),
)


class TrainKind:
    """Trainings."""

    name = TRAIN

    def __init__(self, store: Store, *, blobs: BlobStore, views: ViewService) -> None:
        self._store = store
        self._blobs = blobs
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
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks that every stage of the result has its files; the version becomes READY."""
        result = await self._result(outputs)
        stages = _stages(result, outputs)
        if not stages:
            raise BadOutputError("the training left no stage; an executor writes at least one", file="result.yaml")
        recommended = _recommended(result, stages)

        async def commit(tx: Transaction) -> Product:
            version = (await tx.models.version(trained(task))).ready(stages, recommended=recommended)
            return await self._keep(tx, version, outputs)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the version PARTIAL with the stages written so far, FAILED without any."""
        version = await tx.models.version(trained(task))
        if version.state is not ModelState.CREATING:
            return None
        try:
            # One small file of our own store, read here so that what is kept and why is one decision.
            result = await self._result(outputs)
            stages = _stages(result, outputs)
        except LodeworksError:
            result, stages = {}, ()
        recommended = _recommended(result, stages) if stages else ""
        ended = version.end_early(stages, recommended=recommended, failure=f"its training ended early ({reason.value})")
        return await self._keep(tx, ended, outputs if stages else ()) if stages else await self._failed(tx, ended)

    async def _view(self, version_id: str, spec: Any) -> View:
        return await self._views.resolve(
            version_id, selection=ClassSelection(tuple(spec["class_names"])), revision=spec["class_revision"]
        )

    async def _result(self, outputs: Sequence[Output]) -> dict[str, Any]:
        """Returns the result as the worker told it: best_stage_name, and stages with name, files, scores."""
        found = next((output for output in outputs if output.role == RESULT), None)
        if found is None:
            raise BadOutputError("the training left no result", file="result.yaml")
        try:
            told = json.loads(await self._blobs.read(found.digest, limit=_MAX_RESULT_BYTES))
            return {"best_stage_name": str(told["best_stage_name"]), "stages": list(told["stages"])}
        except (ValueError, KeyError, TypeError) as error:
            raise BadOutputError(f"the result of the training cannot be read ({error})", file="result.yaml") from error

    async def _keep(self, tx: Transaction, version: ModelVersion, outputs: Sequence[Output]) -> Product:
        await tx.models.put_version(version)
        kept = [output.digest for output in outputs if output.role != "checkpoint"]
        await tx.blobs.reference(project_scope(version.project_id), kept)
        node = Node(MODEL_VERSION, version.id)
        await tx.lineage.add(
            [
                Edge(Node(DATASET_VERSION, version.training.train_version_id), node, "train"),
                Edge(Node(DATASET_VERSION, version.training.val_version_id), node, "val"),
            ]
        )
        return ObjectRef(MODEL_VERSION, version.id, version.full_name)

    async def _failed(self, tx: Transaction, version: ModelVersion) -> Product:
        await tx.models.put_version(version)
        return None


def _stages(result: dict[str, Any], outputs: Sequence[Output]) -> tuple[Stage, ...]:
    """Returns the stages with their files, or raises BadOutputError for one whose file did not come back."""
    files: dict[tuple[str, str], StageFile] = {}
    for output in outputs:
        parts = output.role.split("/")
        if output.role.startswith(_STAGE) and len(parts) == _STAGE_PARTS:
            files[parts[1], parts[2]] = StageFile(parts[2], output.digest, output.size_bytes)
    try:
        return tuple(_stage(told, files) for told in result["stages"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadOutputError(f"the result names a stage that cannot be read ({error})", file="result.yaml") from error


def _stage(told: dict[str, Any], files: dict[tuple[str, str], StageFile]) -> Stage:
    name = str(told["name"])
    found = []
    for file_name in told["files"]:
        if (name, file_name) not in files:
            raise BadOutputError(f"stage {name!r} names {file_name!r}, which did not come back", file="result.yaml")
        found.append(files[name, file_name])
    metrics = {str(key): float(value) for key, value in told.get("scores", {}).items()}
    return Stage(name, tuple(found), metrics)


def _recommended(result: dict[str, Any], stages: Sequence[Stage]) -> str:
    best = result.get("best_stage_name", "")
    return best if any(stage.name == best for stage in stages) else stages[-1].name
