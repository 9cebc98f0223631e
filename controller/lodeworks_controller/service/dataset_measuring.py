"""Tasks that look at the pictures of versions: what was not measured is measured, distributions are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from lodeworks_controller.domain.dataset import DatasetVersion
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.curation import CurationSegments, CurationService
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.dataset_tasks import Submitter
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.kinds.analyze import ANALYZE
from lodeworks_controller.service.kinds.signals import SIGNALS_KIND
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, load_manifest
from lodeworks_controller.service.store import Store, Transaction

_COMPARED_MOST = 8
WITHOUT = "none"
"""In place of a prediction set: show none."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A task that measures so many pictures; no task when nothing is missing."""

    task_id: str
    pictures: int


class DatasetMeasuring:
    """Asks for measurings and analyses."""

    def __init__(
        self,
        store: Store,
        blobs: BytesStore,
        tasks: Submitter,
        *,
        curated: CurationSegments,
        curation: CurationService,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._curated = curated
        self._curation = curation

    async def measure(
        self, principal: Principal, project: str, datasets: Sequence[str], *, request_id: str = ""
    ) -> Missing:
        """Starts to measure the pictures of versions that were not measured yet."""
        once = Once(principal.actor, "dataset.signals", request_id)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            versions = await _versions(tx, found.id, datasets)
        count = await self._missing(versions)
        if not count:
            return Missing("", 0)
        async with self._store.transaction() as tx:
            made = await once.result(tx)
            if made is not None:
                return Missing(made, count)
            wish = NewTask(
                kind=SIGNALS_KIND,
                project_id=found.id,
                title=f"measure {', '.join(version.full_name for version in versions)}",
                spec={"version_ids": [version.id for version in versions]},
                created_by=principal.user_id,
                requires=frozenset({"builtin:signals"}),
                subject=_subject(versions[0]),
            )
            task = await self._tasks.submit(tx, wish)
            await once.keep(tx, task.id)
            return Missing(task.id, count)

    async def analyze(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        *,
        prediction_set_ids: Sequence[str] = (),
        request_id: str = "",
    ) -> str:
        """Starts an analysis and returns its task.

        Raises ConflictError SIGNALS_MISSING while pictures were not measured; NotFoundError PREDICTION_SET_NOT_FOUND.
        """
        once = Once(principal.actor, "dataset.analyze", request_id)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            made = await once.result(tx)
            if made is not None:
                return made
            versions = await _versions(tx, found.id, datasets)
            sets = [*prediction_set_ids, *[""] * (len(versions) - len(prediction_set_ids))]
            predicted = [
                await _predictions(tx, version, wanted) for version, wanted in zip(versions, sets, strict=True)
            ]
        missing = await self._missing(versions)
        if missing:
            message = f"{missing} pictures were not measured yet; run `lode dataset signals` on them first"
            raise ConflictError("SIGNALS_MISSING", message, pictures=missing)
        async with self._store.transaction() as tx:
            made = await once.result(tx)
            if made is not None:
                return made
            wish = NewTask(
                kind=ANALYZE,
                project_id=found.id,
                title=f"analyze {', '.join(version.full_name for version in versions)}",
                spec={
                    "subjects": [[version.id, one[0]] for version, one in zip(versions, predicted, strict=True)],
                    "names": [version.full_name for version in versions],
                    "predicted_by": [one[1] for one in predicted],
                },
                created_by=principal.user_id,
                requires=frozenset({"builtin:analyze"}),
                subject=_subject(versions[0]),
            )
            task = await self._tasks.submit(tx, wish)
            await once.keep(tx, task.id)
            return task.id

    async def _missing(self, versions: Sequence[DatasetVersion]) -> int:
        manifests = [await load_manifest(self._blobs, one.require_content().manifest_digest) for one in versions]
        found = await self._curated.unmeasured(manifests, signals=await self._curation.signals_for(manifests))
        return 0 if found is None else found.statistics.pictures


async def _versions(tx: Transaction, project_id: str, datasets: Sequence[str]) -> list[DatasetVersion]:
    if not 1 <= len(datasets) <= _COMPARED_MOST:
        raise InvalidError("SETTING_INVALID", f"name 1 to {_COMPARED_MOST} datasets", field="datasets")
    versions = [await find_version(tx, project_id, text) for text in datasets]
    for version in versions:
        version.require_content()
    return versions


async def _predictions(tx: Transaction, version: DatasetVersion, wanted: str) -> tuple[str, str]:
    """Returns the id of a prediction set and the name of its model; empty texts for none."""
    if wanted == WITHOUT:
        return "", ""
    if wanted:
        found = await tx.prediction_sets.get(wanted)
        if found.project_id != version.project_id:
            raise NotFoundError("PREDICTION_SET_NOT_FOUND", f"there is no prediction set {wanted}")
        return found.id, found.model_name
    newest = await tx.prediction_sets.list(version.id, limit=1)
    return (newest[0].id, newest[0].model_name) if newest else ("", "")


def _subject(version: DatasetVersion) -> ObjectRef:
    return ObjectRef(DATASET_VERSION, version.id, version.full_name)
