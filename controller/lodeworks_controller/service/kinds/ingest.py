"""Imports: pictures and annotations of an archive become a dataset version.

The kind's name is a Python keyword, hence the module's.
"""

from collections.abc import Sequence
from typing import Final

from lodeworks_formats.task_inputs import BLOBS_SLOT, EXCHANGE, REPORT, SOURCE, IngestOptions

from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.content import BlobStore
from lodeworks_controller.service.dataset_arrival import DatasetArrival
from lodeworks_controller.service.kinds.base import Commit
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Transaction

IMPORT: Final = "import"
ARRIVAL_SLOTS: Final = (
    OutputSlot(EXCHANGE, required=True),
    OutputSlot(REPORT, required=True),
    OutputSlot(BLOBS_SLOT),
)


class ImportKind:
    """Runs the built-in ``ingest`` and takes in what it left."""

    def __init__(self, arrival: DatasetArrival, blobs: BlobStore) -> None:
        self._arrival = arrival
        self._blobs = blobs

    @property
    def name(self) -> str:
        """The kind's name."""
        return IMPORT

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: the uploaded archive, and how to read it."""
        source = task.spec["source"]
        options = IngestOptions(format=task.spec["format"])
        return RunSpec(
            executor="builtin:ingest",
            operations=("ingest",),
            inputs=(
                Input(SOURCE, source["digest"], source["size_bytes"]),
                await options_input(self._blobs, options.to_bytes()),
            ),
            outputs=ARRIVAL_SLOTS,
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks exchange form and report; see DatasetArrival."""
        return await self._arrival.finish(task, outputs)

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> None:
        """Marks the version as failed."""
        await self._arrival.abandon(tx, task, outputs, reason)
