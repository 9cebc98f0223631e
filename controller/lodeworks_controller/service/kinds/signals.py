"""The kind `signals`: pictures that were not measured yet go in, hashes and qualities come back."""

from collections.abc import Sequence
from typing import Final

from lodeworks_formats.task_inputs import SIGNALS, VIEW

from lodeworks_controller.domain.curation import SIGNALS_VERSION
from lodeworks_controller.domain.dataset import Operation
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.catalogue import CATALOGUE_SCOPE
from lodeworks_controller.service.curation import CurationSegments, CurationService
from lodeworks_controller.service.dataset_versions import manifest_of
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.run_files import required_output
from lodeworks_controller.service.segments import Segments, load_manifest
from lodeworks_controller.service.store import Store, Transaction

SIGNALS_KIND: Final = "signals"


class SignalsKind:
    """Measurings."""

    name = SIGNALS_KIND

    def __init__(
        self,
        store: Store,
        *,
        blobs: BlobStore,
        segments: Segments,
        curated: CurationSegments,
        curation: CurationService,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._curated = curated
        self._curation = curation

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: those pictures of the versions that have no signals by now."""
        async with self._store.snapshot() as tx:
            versions = [await tx.datasets.version(id_) for id_ in task.spec["version_ids"]]
        manifests = [await load_manifest(self._blobs, one.require_content().manifest_digest) for one in versions]
        missing = await self._curated.unmeasured(manifests, signals=await self._curation.signals_for(manifests))
        if missing is None:
            raise InvalidError("NOTHING_MISSING", "all pictures were measured meanwhile", field="datasets")
        pictures = manifest_of(missing, object_type=versions[0].object_type.value, operation=Operation.FILTER)
        view = await self._segments.view(pictures, classes={}, class_names=(), class_map_revision=0)
        return RunSpec(
            executor="builtin:signals",
            operations=("signals",),
            class_names=(),
            inputs=(Input(VIEW, view.digest, view.size_bytes),),
            outputs=(OutputSlot(SIGNALS, required=True),),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Takes the signals in; from then on every version with these pictures has them."""
        found = required_output(outputs, SIGNALS, of="the measuring")
        async with self._store.snapshot() as tx:
            versions = [await tx.datasets.version(id_) for id_ in task.spec["version_ids"]]
        manifests = [await load_manifest(self._blobs, one.require_content().manifest_digest) for one in versions]
        segment = await self._curated.take_measured(found.digest, sources=manifests)

        async def commit(tx: Transaction) -> Product:
            await tx.catalogue.add_signal_segment(segment, algorithm_version=SIGNALS_VERSION)
            await tx.blobs.reference(CATALOGUE_SCOPE, [segment.digest])
            return ObjectRef("signals", task.id, f"signals of {segment.rows} pictures")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind."""
        del tx, task, outputs, reason
        return None
