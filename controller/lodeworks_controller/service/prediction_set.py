"""Prediction sets: predictions come back by digest and name, and are kept as records beside the ground truth."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.dataset import DatasetVersion
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.lineage import DATASET_VERSION, PREDICTION_SET, Edge, Node
from lodeworks_controller.domain.manifest import Derived, digests_of
from lodeworks_controller.domain.prediction_set import PredictionSet
from lodeworks_controller.service.catalogue import RECS
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, Segments, load_manifest, store_manifest
from lodeworks_controller.service.store import Store, Transaction


class PredictionSetRows(Protocol):
    """Prediction sets as one transaction sees them. No method commits."""

    async def get(self, set_id: str) -> PredictionSet:
        """Returns a set, or raises NotFoundError PREDICTION_SET_NOT_FOUND."""
        ...

    async def find(
        self, *, version_id: str, model_key: str, settings_digest: str | None = None, variant: str | None = None
    ) -> PredictionSet | None:
        """Returns the newest set of a model on a version, of these settings and this variant if given."""
        ...

    async def list(self, version_id: str, *, before_id: str = "", limit: int = 100) -> Sequence[PredictionSet]:
        """Returns the sets of a version, newest first."""
        ...

    async def add(self, found: PredictionSet) -> None:
        """Stores a new set."""
        ...

    async def put(self, found: PredictionSet) -> None:
        """Stores a set that was deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Predicted:
    """Who predicted: a model's stage by digest, or a model by name only; how; and in which task."""

    model_key: str
    model_name: str
    settings_digest: str = ""
    variant: str = ""
    task_id: str | None = None


CommitSet = Callable[[Transaction], Awaitable[PredictionSet]]
"""Stores a prediction set whose content is there; runs in the transaction that makes it visible."""


class PredictionSetService:
    """Takes predictions in and shows which there are."""

    def __init__(self, store: Store, blobs: BytesStore, segments: Segments, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._ids = ids

    async def list(
        self, principal: Principal, project: str, dataset: str, *, before_id: str = "", limit: int = 100
    ) -> Sequence[PredictionSet]:
        """Returns the prediction sets of a version, newest first."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            version = await find_version(tx, found.id, dataset)
            return await tx.prediction_sets.list(version.id, before_id=before_id, limit=limit)

    async def take_in(self, exchange: str, *, version: DatasetVersion, by: Predicted) -> CommitSet:
        """Stores the predictions of an exchange form (a blob's digest) on a version's pictures.

        Nothing is visible until the answer has run. Raises BadOutputError with the row.
        """
        content = version.require_content()
        manifest = await load_manifest(self._blobs, content.manifest_digest)

        async def ignore(digests: Sequence[str]) -> None:
            """Takes no notice: pictures that are not in the version are left out later."""
            del digests

        found = await self._segments.inspect(exchange, assets=(), each=ignore)
        async with self._store.transaction() as tx:
            rids = await tx.classes.intern(found.class_names)
            first_rec = await tx.catalogue.reserve(RECS, max(1, found.predicted))
        derived = await self._segments.arrive_predictions(exchange, version=manifest, rids=rids, first_rec=first_rec)
        return await self.keep(derived, version=version, manifest_digest=content.manifest_digest, by=by)

    async def keep(
        self, derived: Derived, *, version: DatasetVersion, manifest_digest: str, by: Predicted
    ) -> CommitSet:
        """Stores the manifest of records that are there already; the answer makes the set visible."""
        manifest = VersionManifest(
            object_type=version.object_type.value,
            segments=derived.segments,
            operation="predict",
            parameters={"model": by.model_key, "settings": by.settings_digest, "variant": by.variant},
            parents=(manifest_digest,),
            statistics=derived.statistics.totals(),
        )
        digest = await store_manifest(self._blobs, manifest)

        async def commit(tx: Transaction) -> PredictionSet:
            made = PredictionSet(
                id=self._ids(),
                project_id=version.project_id,
                version_id=version.id,
                model_key=by.model_key,
                model_name=by.model_name,
                settings_digest=by.settings_digest,
                variant=by.variant,
                manifest_digest=digest,
                statistics=derived.statistics,
                created_at=tx.now(),
                task_id=by.task_id,
            )
            await tx.prediction_sets.add(made)
            await tx.blobs.reference(project_scope(version.project_id), [digest, *digests_of(manifest)])
            parent, child = Node(DATASET_VERSION, version.id), Node(PREDICTION_SET, made.id)
            await tx.lineage.add([Edge(parent, child, "pictures")])
            return made

        return commit
