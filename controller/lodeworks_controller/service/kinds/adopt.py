"""The kind `adopt`: a model file from elsewhere in, stages that describe themselves out."""

from collections.abc import Sequence
from dataclasses import replace

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.manifest import canonical_json

from lodeworks_controller.domain.model import ModelState
from lodeworks_controller.domain.task.run import Input, Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.adoption import ADOPT
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.kinds.stages import RESULT_SLOT, STAGE_SLOT, StageIntake, stages_of
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.training import trained


class AdoptKind:
    """Imports of models."""

    name = ADOPT

    def __init__(self, store: Store, *, blobs: BlobStore, intake: StageIntake) -> None:
        self._store = store
        self._blobs = blobs
        self._intake = intake

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: the file, and what was said of it."""
        async with self._store.transaction() as tx:
            made = await tx.models.version(trained(task))
            if made.state is not ModelState.CREATING:
                await tx.models.put_version(made.again())  # the task is tried again
        file = task.spec["file"]
        return RunSpec(
            executor="builtin:adopt",
            operations=(ADOPT,),
            inputs=(
                Input(f"{roles.MODEL}/{file['name']}", file["digest"], file["size_bytes"]),
                await options_input(self._blobs, canonical_json(task.spec["options"])),
            ),
            outputs=(RESULT_SLOT, STAGE_SLOT),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks the stages and that the project knows the classes; the version becomes READY."""
        told = await self._intake.result(outputs)
        if not stages_of(told, outputs):
            raise BadOutputError("the model package holds no stage")
        names = tuple(str(name) for name in told.get("class_names", ()))
        async with self._store.snapshot() as tx:
            known = (await class_table(tx, task.project_id)).class_map
        unknown = known.meaningless(names)
        if unknown:
            wanted = " ".join(unknown)
            raise BadOutputError(
                f"the model knows classes that the project does not have: {', '.join(unknown)}; "
                f"add them with `lode class add {wanted}` and import it again"
            )

        async def commit(tx: Transaction) -> Product:
            made = await tx.models.version(trained(task))
            version = replace(made, class_names=names, training=replace(made.training, class_revision=known.revision))
            return await self._intake.complete(tx, version, outputs, told)

        return commit

    async def abandon(self, tx: Transaction, task: Task, _outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the version FAILED: half an import is none."""
        return await self._intake.end_early(tx, await tx.models.version(trained(task)), (), reason)
