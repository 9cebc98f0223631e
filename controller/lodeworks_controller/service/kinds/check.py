"""The kind `check`: an image in, a report on how it keeps the executor protocol out."""

from collections.abc import Sequence

from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_check import CheckReport
from lodeworks_formats.task_inputs import REPORT

from lodeworks_controller.domain.task.run import Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.images import CHECK
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.store import Transaction

_MAX_BYTES = 8 << 20


class CheckKind:
    """Checks of images. One that finds faults succeeded: the report is what it makes."""

    name = CHECK
    prepares_alone = True

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run from the options alone."""
        return RunSpec(
            executor="builtin:check",
            operations=(CHECK,),
            inputs=(await options_input(self._blobs, str(task.spec["options"]).encode()),),
            outputs=(OutputSlot(REPORT, required=True, max_bytes=_MAX_BYTES),),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Makes sure that the report can be read."""
        found = required_output(outputs, REPORT, of="the check")
        try:
            report = CheckReport.from_bytes(await self._blobs.read(found.digest, limit=_MAX_BYTES))
        except FormatError as error:
            raise BadOutputError(error.message, file=error.file) from error

        async def commit(_tx: Transaction) -> Product:
            return ObjectRef("image_check", task.id, report.image)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind."""
        del tx, task, outputs, reason
        return None
