"""The kind `analyze`: versions and predictions in, distributions out, as JSON and as a page."""

from collections.abc import Sequence
from typing import Final

from lodeworks_formats.task_inputs import REPORT_HTML, SUMMARY, AnalyzeOptions, analyzed_role

from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.curation import CurationSegments, CurationService
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.segments import load_manifest
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.view import ViewService

ANALYZE: Final = "analyze"


class AnalyzeKind:
    """Analyses."""

    name = ANALYZE

    def __init__(
        self,
        store: Store,
        *,
        blobs: BlobStore,
        views: ViewService,
        curated: CurationSegments,
        curation: CurationService,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._views = views
        self._curated = curated
        self._curation = curation

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run: for each dataset its pictures with boxes of both sides, and what was measured of them."""
        inputs: list[Input] = []
        names: tuple[str, ...] = ()
        for place, (version_id, prediction_set_id) in enumerate(task.spec["subjects"]):
            view = await self._views.resolve(version_id, prediction_set_id=prediction_set_id)
            async with self._store.snapshot() as tx:
                version = await tx.datasets.version(version_id)
            manifest = await load_manifest(self._blobs, version.require_content().manifest_digest)
            signals = await self._curation.signals_for([manifest])
            measured = await self._curated.signals_of(manifest, signals=signals)
            inputs.append(Input(analyzed_role(place, "view"), view.digest, view.size_bytes))
            inputs.append(Input(analyzed_role(place, "signals"), measured.digest, measured.size_bytes))
            names = view.class_names
        options = AnalyzeOptions(names=tuple(task.spec["names"]), predicted_by=tuple(task.spec["predicted_by"]))
        inputs.append(await options_input(self._blobs, options.to_bytes()))
        return RunSpec(
            executor="builtin:analyze",
            operations=(ANALYZE,),
            class_names=names,
            inputs=tuple(inputs),
            outputs=(OutputSlot(SUMMARY, required=True), OutputSlot(REPORT_HTML, required=True)),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Hands both files to the project."""
        files = [required_output(outputs, role, of="the analysis") for role in (SUMMARY, REPORT_HTML)]

        async def commit(tx: Transaction) -> Product:
            await tx.blobs.reference(project_scope(task.project_id), [file.digest for file in files])
            id_ = ",".join(f"{file.digest}:{file.size_bytes}" for file in files)
            return ObjectRef("analysis", id_, task.title)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind."""
        del tx, task, outputs, reason
        return None
