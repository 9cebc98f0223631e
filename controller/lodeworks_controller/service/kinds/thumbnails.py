"""The kind `thumbnails`: pictures that have no thumbnail yet go in, small JPEGs come back."""

from collections.abc import Sequence
from typing import Final

from lodeworks_formats.manifest import VersionManifest
from lodeworks_formats.task_inputs import BLOBS_SLOT, THUMBNAILS, VIEW

from lodeworks_controller.domain.dataset import Operation
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, InvalidError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.catalogue import CATALOGUE_SCOPE
from lodeworks_controller.service.content_scope import project_scope, task_scope
from lodeworks_controller.service.dataset_versions import manifest_of
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.run_files import required_output
from lodeworks_controller.service.segments import Segments
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.thumbnail import ThumbnailService

THUMBNAILS_KIND: Final = "thumbnails"


class ThumbnailsKind:
    """Thumbnails."""

    name = THUMBNAILS_KIND

    def __init__(self, store: Store, *, blobs: BlobStore, segments: Segments, thumbnails: ThumbnailService) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._thumbnails = thumbnails

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: those pictures that have no thumbnail by now."""
        missing = await self._thumbnails.missing(await self._sources(task))
        if missing is None:
            raise InvalidError("NOTHING_MISSING", "all pictures got their thumbnails meanwhile", field="datasets")
        pictures = manifest_of(missing, object_type=task.spec["object_type"], operation=Operation.FILTER)
        view = await self._segments.view(pictures, classes={}, class_names=(), class_map_revision=0)
        return RunSpec(
            executor="builtin:thumbnails",
            operations=("thumbnails",),
            class_names=(),
            inputs=(Input(VIEW, view.digest, view.size_bytes),),
            outputs=(OutputSlot(THUMBNAILS, required=True), OutputSlot(BLOBS_SLOT)),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Takes the thumbnails in; from then on every version with these pictures has them."""
        found = required_output(outputs, THUMBNAILS, of="the shrinking")

        async def refer(digests: Sequence[str]) -> None:
            """Refuses thumbnails that this task did not bring, and lets the project's people read the others."""
            async with self._store.transaction() as tx:
                brought = await tx.blobs.referenced(task_scope(task.id), digests)
                absent = [digest for digest in digests if digest not in brought]
                if absent:
                    raise BadOutputError(f"thumbnail {absent[0]} was named and not uploaded", file=THUMBNAILS)
                await tx.blobs.reference(project_scope(task.project_id), digests)

        segment = await self._thumbnails.take_in(found.digest, sources=await self._sources(task), each=refer)

        async def commit(tx: Transaction) -> Product:
            await tx.catalogue.add_thumbnail_segment(segment)
            await tx.blobs.reference(CATALOGUE_SCOPE, [segment.digest])
            return ObjectRef(THUMBNAILS, task.id, f"thumbnails of {segment.rows} pictures")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind."""
        del tx, task, outputs, reason
        return None

    async def _sources(self, task: Task) -> Sequence[VersionManifest]:
        async with self._store.snapshot() as tx:
            versions = [await tx.datasets.version(id_) for id_ in task.spec["version_ids"]]
        return await self._thumbnails.sources(versions, task.spec["digests"])
