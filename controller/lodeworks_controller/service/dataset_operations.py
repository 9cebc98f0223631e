"""Operations: each makes a new version from others, inside one rpc, and can be repeated from what it records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.dataset import Content, DatasetVersion, Making, Operation, VersionState
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.manifest import Derived, Statistics
from lodeworks_controller.domain.operation import Conflict, Filter, Sample, Split, check_seed
from lodeworks_controller.domain.project import Project
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content import project_scope
from lodeworks_controller.service.dataset import VersionSight, find_version, rids_for, sight_of
from lodeworks_controller.service.dataset_versions import Filled, fill_version, manifest_of, open_version
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.object_class import ClassTable, class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, Segments, load_manifest, store_manifest
from lodeworks_controller.service.store import Store, Transaction

_MERGED_FEW = 2


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of one operation: who asks, where, for what intent."""

    principal: Principal
    once: Once
    project: Project
    table: ClassTable
    parents: tuple[DatasetVersion, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version that is ready to be written down."""

    to: str
    derived: Derived
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


class DatasetOperations:
    """Makes versions from versions."""

    def __init__(self, store: Store, blobs: BytesStore, segments: Segments, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._ids = ids

    async def filter(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        which: Filter,
        to: str = "",
        dry_run: bool = False,
        request_id: str = "",
    ) -> VersionSight:
        """Keeps the pictures that a condition lets pass; a dry run only counts them."""
        call = await self._begin(principal, project, [dataset], "filter", "" if dry_run else request_id)
        if isinstance(call, tuple):
            return call[0]
        source = await self._manifest(call.parents[0])
        derived = await self._segments.filter(source, which.condition(), rids=rids_for(which, call.table))
        draft = _Draft(to, derived, which.parameters())
        if dry_run:
            return self._preview(call, Operation.FILTER, draft)
        return (await self._keep(call, Operation.FILTER, [draft]))[0]

    async def merge(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        *,
        conflict: Conflict = Conflict.NEWEST,
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Unites versions, the first with the second, the result with the third and so on."""
        if len(datasets) < _MERGED_FEW:
            raise InvalidError("MERGE_INVALID", "a merge takes two or more datasets; name another", field="datasets")
        call = await self._begin(principal, project, datasets, "merge", request_id)
        if isinstance(call, tuple):
            return call[0]
        first, *others = [await self._manifest(parent) for parent in call.parents]
        united, derived = first, Derived((), Statistics())
        for other in others:
            derived = await self._segments.merge(united, other, conflict=conflict)
            united = replace(united, segments=derived.segments)
        draft = _Draft(to, derived, {"conflict": conflict.value})
        return (await self._keep(call, Operation.MERGE, [draft]))[0]

    async def exclude(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        without: Sequence[str],
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Keeps the pictures that none of the others has."""
        if not without:
            raise InvalidError("EXCLUDE_INVALID", "name the datasets whose pictures leave", field="without")
        call = await self._begin(principal, project, [dataset, *without], "exclude", request_id)
        if isinstance(call, tuple):
            return call[0]
        host, *others = [await self._manifest(parent) for parent in call.parents]
        derived = await self._segments.exclude(host, others)
        return (await self._keep(call, Operation.EXCLUDE, [_Draft(to, derived)]))[0]

    async def sample(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        sample: Sample,
        seed: int = 0,
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Draws pictures by chance; the same seed draws the same."""
        check_seed(seed)
        call = await self._begin(principal, project, [dataset], "sample", request_id)
        if isinstance(call, tuple):
            return call[0]
        size = sample.size_of(call.parents[0].require_content().statistics.pictures)
        source = await self._manifest(call.parents[0])
        (derived,) = await self._segments.draw(source, sizes=[size], seed=seed)
        draft = _Draft(to, derived, {"count": size}, seed)
        return (await self._keep(call, Operation.SAMPLE, [draft]))[0]

    async def split(
        self, principal: Principal, project: str, dataset: str, *, split: Split, seed: int = 0, request_id: str = ""
    ) -> Sequence[VersionSight]:
        """Deals all pictures out to several datasets; identical pictures are one, so they never straddle."""
        checked = split.check()
        check_seed(seed)
        call = await self._begin(principal, project, [dataset], "split", request_id)
        if isinstance(call, tuple):
            return call
        sizes = checked.sizes(call.parents[0].require_content().statistics.pictures)
        parts = await self._segments.draw(await self._manifest(call.parents[0]), sizes=sizes, seed=seed)
        drafts = [
            _Draft(name, derived, {"shares": dict(checked.shares), "part": name}, seed)
            for name, derived in zip(checked.shares, parts, strict=True)
        ]
        return await self._keep(call, Operation.SPLIT, drafts)

    async def copy(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        source_project: str = "",
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Copies a version into a project; no picture and no box is written again."""
        call = await self._begin(
            principal, project, [dataset], "copy", request_id, source_project=source_project or project
        )
        if isinstance(call, tuple):
            return call[0]
        (parent,) = call.parents
        source = await self._manifest(parent)
        if parent.project_id != call.project.id:
            await self._refer_to_pictures(call.project.id, source)
        content = parent.require_content()
        draft = _Draft(to, Derived(source.segments, content.statistics), {"from": parent.full_name})
        return (await self._keep(call, Operation.COPY, [draft]))[0]

    async def _begin(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        method: str,
        request_id: str,
        *,
        source_project: str = "",
    ) -> _Call | tuple[VersionSight, ...]:
        """Looks up what the call names; answers what an earlier call of the same intent made, if one did."""
        once = Once(principal.actor, f"dataset.{method}", request_id)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            table = await class_table(tx, found.id)
            made = await once.result(tx)
            if made is not None:
                return await self._made(tx, made, table)
            home = found
            if source_project:
                home = await enter(tx, principal, source_project, ProjectRole.VIEWER)
            parents = tuple([await find_version(tx, home.id, text) for text in datasets])
        for parent in parents:
            parent.require_content()
        return _Call(principal, once, found, table, parents)

    async def _keep(self, call: _Call, operation: Operation, drafts: Sequence[_Draft]) -> tuple[VersionSight, ...]:
        """Writes versions down, all or none; a repeat that was faster wins."""
        manifests = [self._manifest_for(call, operation, draft) for draft in drafts]
        digests = [await store_manifest(self._blobs, manifest) for manifest in manifests]
        async with self._store.transaction() as tx:
            made = await call.once.result(tx)
            if made is not None:
                return await self._made(tx, made, call.table)
            project = await tx.projects.get(call.project.id)
            project.require_active()
            ready = []
            for draft, manifest, digest in zip(drafts, manifests, digests, strict=True):
                version = await open_version(
                    tx,
                    project,
                    to=draft.to or call.parents[0].name,
                    making=_making(call, operation, draft),
                    created_by=call.principal.user_id,
                    class_revision=call.table.class_map.revision,
                    ids=self._ids,
                )
                filled = Filled(manifest, digest, draft.derived)
                ready.append(await fill_version(tx, version, filled, class_revision=version.class_revision))
            detail = {"versions": [version.full_name for version in ready]}
            await tx.audit.add(
                f"dataset.{operation.value}",
                ready[0].id,
                actor=call.principal.actor,
                project_id=project.id,
                detail=detail,
            )
            await call.once.keep(tx, " ".join(version.id for version in ready))
            return tuple([await sight_of(tx, version, call.table) for version in ready])

    def _manifest_for(self, call: _Call, operation: Operation, draft: _Draft) -> VersionManifest:
        return manifest_of(
            draft.derived,
            object_type=call.project.object_type.value,
            operation=operation,
            parents=call.parents,
            parameters=draft.parameters,
            seed=draft.seed,
            class_revision=call.table.class_map.revision,
        )

    def _preview(self, call: _Call, operation: Operation, draft: _Draft) -> VersionSight:
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

    async def _manifest(self, version: DatasetVersion) -> VersionManifest:
        return await load_manifest(self._blobs, version.require_content().manifest_digest)

    async def _refer_to_pictures(self, project_id: str, manifest: VersionManifest) -> None:
        async def refer(digests: Sequence[str]) -> None:
            """Lets the project's people read the pictures; batch by batch, so that nobody waits long."""
            async with self._store.transaction() as tx:
                await tx.blobs.reference(project_scope(project_id), digests)

        await self._segments.digests(manifest, each=refer)


def _making(call: _Call, operation: Operation, draft: _Draft) -> Making:
    return Making(operation, tuple(parent.id for parent in call.parents), draft.parameters, draft.seed)
