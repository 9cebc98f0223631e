"""Imports: pictures and annotations of an archive become a dataset version.

The kind's name is a Python keyword, hence the module's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lodeworks_formats.task_inputs import BLOBS_SLOT, EXCHANGE, KNOWN, REPORT, SOURCE, IngestOptions

from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.dataset_arrival import DatasetArrival
from lodeworks_controller.service.kinds.base import Commit
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Transaction
from lodeworks_controller.service.view import ViewService

IMPORT: Final = "import"
LABELS: Final = "import_labels"
ARRIVAL_SLOTS: Final = (
    OutputSlot(EXCHANGE, required=True),
    OutputSlot(REPORT, required=True),
    OutputSlot(BLOBS_SLOT),
)


class ImportKind:
    """Runs the built-in ``ingest`` and takes in what it left."""

    prepares_alone = True

    def __init__(self, arrival: DatasetArrival, blobs: BlobStore) -> None:
        self._arrival = arrival
        self._blobs = blobs

    @property
    def name(self) -> str:
        """The kind's name."""
        return IMPORT

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: the uploaded archive, and how to read it."""
        return await _run(self._blobs, task)

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks exchange form and report; see DatasetArrival."""
        return await self._arrival.finish(task, outputs)

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> None:
        """Marks the version as failed."""
        await self._arrival.abandon(tx, task, outputs, reason)


class LabelsKind(ImportKind):
    """Runs the built-in ``ingest`` for annotations of a version's pictures, which are named to it by a view."""

    prepares_alone = False

    def __init__(self, arrival: DatasetArrival, blobs: BlobStore, views: ViewService) -> None:
        super().__init__(arrival, blobs)
        self._views = views

    @property
    def name(self) -> str:
        """The kind's name."""
        return LABELS

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: the source, how to read it, and whose pictures it is about."""
        view = await self._views.resolve(task.spec["labels_for"])
        return await _run(self._blobs, task, Input(KNOWN, view.digest, view.size_bytes))


async def _run(blobs: BlobStore, task: Task, *more: Input) -> RunSpec:
    source = task.spec["source"]
    inputs = [*more, await options_input(blobs, IngestOptions(**_options(task.spec)).to_bytes())]
    if source.get("digest"):
        inputs.insert(0, Input(SOURCE, source["digest"], source["size_bytes"]))
    return RunSpec(
        executor="builtin:ingest",
        operations=("ingest",),
        inputs=tuple(inputs),
        outputs=ARRIVAL_SLOTS,
        resources=task.resources,
        limits=task.limits,
    )


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    source = spec["source"]
    return {
        "format": spec["format"],
        "class_names": tuple(spec.get("class_names", ())),
        "class_map": tuple(sorted(spec.get("class_map", {}).items())),
        "source_name": source["name"],
        "url": source.get("url", ""),
        "path": source.get("path", ""),
    }
