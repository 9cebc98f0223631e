"""What every operation has in common: who may, what of, and the versions written down, all or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.dataset import Content, DatasetVersion, Making, Operation, VersionState
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.manifest import Derived
from lodeworks_controller.domain.project import Project, ProjectState
from lodeworks_controller.domain.task.task import ObjectRef
from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.service.dataset import VersionSight, find_version, sight_of
from lodeworks_controller.service.dataset_versions import Filled, fill_version, manifest_of, open_version, refer_to
from lodeworks_controller.service.events import object_ready
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.object_class import ClassTable, class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, load_manifest, store_manifests
from lodeworks_controller.service.store import Store, Transaction

_FEW: Final = 64
"""Segments of versions that are written down in the loop's own thread; more would hold it up."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one operation: who asks, where, for what intent."""

    principal: Principal
    once: Once
    project: Project
    table: ClassTable
    parents: tuple[DatasetVersion, ...]
    released_at: datetime | None
    """When the project last let go of what deleted versions had."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is ready to be written down."""

    to: str
    derived: Derived
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


class VersionMaking:
    """Begins operations, and writes down what they made."""

    def __init__(self, store: Store, blobs: BytesStore, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._ids = ids

    async def begin(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        method: str,
        request_id: str,
        *,
        source_project: str = "",
    ) -> Call | tuple[VersionSight, ...]:
        """Looks up what the call names; answers what an earlier call of the same intent made, if one did."""
        once = Once(principal.actor, f"dataset.{method}", request_id)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            table = await class_table(tx, found.id)
            made = await once.result(tx)
            if made is not None:
                return await self._made(tx, made, table)
            home_id = found.id
            if source_project:
                home_id = await _open_to(tx, principal, source_project, datasets)
            parents = tuple([await find_version(tx, home_id, text) for text in datasets])
            released_at = await tx.datasets.released_at(found.id)
        for parent in parents:
            parent.require_content()
        return Call(principal, once, found, table, parents, released_at)

    async def keep(self, call: Call, operation: Operation, drafts: Sequence[Draft]) -> tuple[VersionSight, ...]:
        """Writes versions down, all or none; a repeat that was faster wins.

        Raises ConflictError DATASET_DELETED when a parent was deleted meanwhile: its pictures may be going.
        """
        manifests = [self._manifest_for(call, operation, draft) for draft in drafts]
        digests = await store_manifests(self._blobs, manifests)
        few = sum(len(manifest.segments) for manifest in manifests) <= _FEW
        async with self._store.transaction(brief=few) as tx:
            made = await call.once.result(tx)
            if made is not None:
                return await self._made(tx, made, call.table)
            project = await tx.projects.get(call.project.id)
            project.require_active()
            await _require_parents(tx, call)
            every = [Filled(*one) for one in zip(manifests, digests, (draft.derived for draft in drafts), strict=True)]
            await refer_to(tx, project.id, every)
            ready = []
            for draft, filled in zip(drafts, every, strict=True):
                version = await open_version(
                    tx,
                    project,
                    to=draft.to or call.parents[0].name,
                    making=_making(call, operation, draft),
                    created_by=call.principal.user_id,
                    class_revision=call.table.class_map.revision,
                    ids=self._ids,
                )
                revision = version.class_revision
                ready.append(await fill_version(tx, version, filled, class_revision=revision, referred=True))
            detail = {"versions": [version.full_name for version in ready]}
            await tx.audit.add(
                f"dataset.{operation.value}",
                ready[0].id,
                actor=call.principal.actor,
                project_id=project.id,
                detail=detail,
            )
            for version in ready:
                made_ref = ObjectRef("dataset_version", version.id, version.full_name)
                await object_ready(tx, made_ref, project_id=project.id)
            await call.once.keep(tx, " ".join(version.id for version in ready))
            return tuple([await sight_of(tx, version, call.table) for version in ready])

    def _manifest_for(self, call: Call, operation: Operation, draft: Draft) -> VersionManifest:
        return manifest_of(
            draft.derived,
            object_type=call.project.object_type.value,
            operation=operation,
            parents=call.parents,
            parameters=draft.parameters,
            seed=draft.seed,
            class_revision=call.table.class_map.revision,
        )

    def preview(self, call: Call, operation: Operation, draft: Draft) -> VersionSight:
        """Returns a version that was not written down: without id and number."""
        shown = call.table.names()
        statistics = draft.derived.statistics
        version = DatasetVersion(
            id="",
            dataset_id="",
            project_id=call.project.id,
            name=draft.to or call.parents[0].name,
            number=0,
            state=VersionState.READY,
            object_type=call.project.object_type,
            making=_making(call, operation, draft),
            class_revision=call.table.class_map.revision,
            created_by=call.principal.user_id,
            created_at=call.parents[0].created_at,
            content=Content("", statistics),
        )
        boxes = sum(count.boxes for rid, count in statistics.raw.items() if rid in shown)
        return VersionSight(version, boxes, tuple(parent.full_name for parent in call.parents))

    async def _made(self, tx: Transaction, made: str, table: ClassTable) -> tuple[VersionSight, ...]:
        return tuple([await sight_of(tx, await tx.datasets.version(id_), table) for id_ in made.split()])

    async def manifest(self, version: DatasetVersion) -> VersionManifest:
        """Returns what a READY version consists of."""
        return await load_manifest(self._blobs, version.require_content().manifest_digest)


async def _open_to(tx: Transaction, principal: Principal, project: str, datasets: Sequence[str]) -> str:
    """Returns the id of the project that has the datasets: its members may read it, everybody what is public in it."""
    home = await tx.projects.find(project)
    if home is not None and home.state is ProjectState.ACTIVE:
        named = [await find_version(tx, home.id, text) for text in datasets]
        if all([(await tx.datasets.get(version.dataset_id)).public for version in named]):
            return home.id
    return (await enter(tx, principal, project, ProjectRole.VIEWER)).id


async def _require_parents(tx: Transaction, call: Call) -> None:
    current = await tx.datasets.by_ids([parent.id for parent in call.parents])
    for parent in call.parents:
        current[parent.id].require_content()
    if await tx.datasets.released_at(call.project.id) != call.released_at:
        raise UnavailableError("CATALOGUE_MOVED", "deleted versions were cleared away meanwhile; repeat the call")


def _making(call: Call, operation: Operation, draft: Draft) -> Making:
    return Making(operation, tuple(parent.id for parent in call.parents), draft.parameters, draft.seed)
