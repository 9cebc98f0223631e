"""Exports: a version becomes an archive that other tools read."""

from collections.abc import Sequence
from typing import Final

from lodeworks_formats.task_inputs import ARCHIVE, VIEW, ExportOptions

from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.kinds.base import Commit
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.service.view import ViewService

EXPORT: Final = "export"


class ExportKind:
    """Runs the built-in ``export`` on a view; the result is a blob of the project."""

    def __init__(self, views: ViewService, blobs: BlobStore) -> None:
        self._views = views
        self._blobs = blobs

    @property
    def name(self) -> str:
        """The kind's name."""
        return EXPORT

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: the view, and how to write it."""
        shown = task.spec.get("prediction_set_id", "")
        view = await self._views.resolve(task.spec["version_id"], prediction_set_id=shown)
        options = ExportOptions(
            format=task.spec["format"],
            pictures=task.spec["pictures"],
            predictions=bool(shown),
            model_name=task.spec.get("model_name", ""),
        )
        return RunSpec(
            executor="builtin:export",
            operations=("export",),
            class_names=view.class_names,
            inputs=(Input(VIEW, view.digest, view.size_bytes), await options_input(self._blobs, options.to_bytes())),
            outputs=(OutputSlot(ARCHIVE, required=True),),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Hands the archive to the project."""
        archive = required_output(outputs, ARCHIVE, of="the export")

        async def commit(tx: Transaction) -> ObjectRef:
            await tx.blobs.reference(project_scope(task.project_id), [archive.digest])
            return ObjectRef("blob", f"{archive.digest}:{archive.size_bytes}", str(task.spec["archive_name"]))

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> None:
        """Leaves nothing behind: an archive is no object until it is whole."""
        del tx, task, outputs, reason
