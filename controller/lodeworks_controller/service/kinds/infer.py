"""The kind `infer`: a model and a view in, a prediction set out."""

from collections.abc import Sequence

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.task_inputs import InferOptions

from lodeworks_controller.domain.executor import DETECTION
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.executor import run_policy
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.measuring import BUILTIN_INFER, INFER
from lodeworks_controller.service.model_use import files_of
from lodeworks_controller.service.prediction_set import Predicted, PredictionSetService
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.view import ViewService


class InferKind:
    """Inferences."""

    name = INFER

    def __init__(
        self, store: Store, *, blobs: BlobStore, views: ViewService, predictions: PredictionSetService
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._views = views
        self._predictions = predictions

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: the pictures without boxes, the model's files, the options."""
        spec = task.spec
        view = await self._views.resolve(spec["dataset_version_id"], selection=ClassSelection(()))
        inputs = [Input(roles.CANDIDATE, view.digest, view.size_bytes)]
        inputs += [Input(role, digest, size) for role, digest, size in files_of(spec["model"])]
        if spec["executor"] == BUILTIN_INFER:
            inputs.append(await options_input(self._blobs, InferOptions(**spec["settings"]).to_bytes()))
        return RunSpec(
            executor=spec["run"],
            operations=(INFER,),
            class_names=tuple(spec["model"]["class_names"]),
            settings_yaml=spec["settings_yaml"],
            inputs=tuple(inputs),
            outputs=(OutputSlot(roles.PREDICTIONS, required=True),),
            resources=task.resources,
            limits=task.limits,
            export_format=spec["export_format"],
            object_type=spec.get("object_type", DETECTION),
            policy=run_policy(spec),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Takes the predictions in as records; they become visible together with the task's end."""
        found = required_output(outputs, roles.PREDICTIONS, of="the inference")
        model = task.spec["model"]
        async with self._store.snapshot() as tx:
            version = await tx.datasets.version(task.spec["dataset_version_id"])
        keep = await self._predictions.take_in(
            found.digest,
            version=version,
            by=Predicted(
                model_key=model["key"],
                model_name=model["model_name"],
                settings_digest=task.spec["settings_digest"],
                variant=model["variant"],
                task_id=task.id,
            ),
        )

        async def commit(tx: Transaction) -> Product:
            made = await keep(tx)
            return ObjectRef("prediction_set", made.id, f"{made.model_name} on {version.full_name}")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind: nobody has seen a prediction set yet."""
        del tx, task, outputs, reason
        return None
