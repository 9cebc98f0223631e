"""Made pictures: an import whose source is drawn."""

from collections.abc import Sequence
from typing import Final

from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.dataset_arrival import DatasetArrival
from lodeworks_controller.service.kinds.base import Commit
from lodeworks_controller.service.kinds.ingest import ARRIVAL_SLOTS
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Transaction

GENERATE: Final = "generate"


class GenerateKind:
    """Runs the built-in ``generate`` and takes in what it left."""

    prepares_alone = True

    def __init__(self, arrival: DatasetArrival, blobs: BlobStore) -> None:
        self._arrival = arrival
        self._blobs = blobs

    @property
    def name(self) -> str:
        """The kind's name."""
        return GENERATE

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run from the settings alone."""
        return RunSpec(
            executor="builtin:generate",
            operations=("generate",),
            inputs=(await options_input(self._blobs, str(task.spec["options"]).encode()),),
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
