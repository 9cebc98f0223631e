"""Operations: each makes a new version from others, inside one rpc, and can be repeated from what it records."""

from collections.abc import Sequence
from dataclasses import replace

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.curation import SIGNALS_VERSION
from lodeworks_controller.domain.dataset import Operation
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.manifest import Derived, Statistics, near
from lodeworks_controller.domain.operation import Conflict, Filter, Sample, Split, check_seed
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.dataset import VersionSight, rids_for
from lodeworks_controller.service.object_class import ClassTable
from lodeworks_controller.service.prediction_choice import beside, resolved
from lodeworks_controller.service.segments import BytesStore, Dealing, Segments
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.version_making import Call, Draft, VersionMaking

_MERGED_FEW = 2


class DatasetOperations:
    """Makes versions from versions."""

    def __init__(self, store: Store, blobs: BytesStore, segments: Segments, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._making = VersionMaking(store, blobs, ids=ids)

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
        call = await self._making.begin(principal, project, [dataset], "filter", "" if dry_run else request_id)
        if isinstance(call, tuple):
            return call[0]
        (parent,) = call.parents
        condition, rids = which.condition(), rids_for(which, call.table)
        async with self._store.snapshot() as tx:
            which, predictions = await resolved(tx, parent, which)
        asked = await beside(self._blobs, predictions, call.table.names())
        derived = await self._segments.filter(await self._making.manifest(parent), condition, rids=rids, beside=asked)
        draft = Draft(to, derived, which.parameters())
        if dry_run:
            return self._making.preview(call, Operation.FILTER, draft)
        return (await self._making.keep(call, Operation.FILTER, [draft]))[0]

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
        call = await self._making.begin(principal, project, datasets, "merge", request_id)
        if isinstance(call, tuple):
            return call[0]
        first, *others = [await self._making.manifest(parent) for parent in call.parents]
        united, derived = first, Derived((), Statistics())
        for other in others:
            derived = await self._segments.merge(united, other, conflict=conflict)
            united = replace(united, segments=derived.segments)
        draft = Draft(to, derived, {"conflict": conflict.value})
        return (await self._making.keep(call, Operation.MERGE, [draft]))[0]

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
        call = await self._making.begin(principal, project, [dataset, *without], "exclude", request_id)
        if isinstance(call, tuple):
            return call[0]
        host, *others = [await self._making.manifest(parent) for parent in call.parents]
        derived = await self._segments.exclude(host, others)
        return (await self._making.keep(call, Operation.EXCLUDE, [Draft(to, derived)]))[0]

    async def sample(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        sample: Sample,
        seed: int = 0,
        stratified: bool = False,
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Draws pictures by chance; the same seed draws the same. Stratified: each class gets its share."""
        check_seed(seed)
        call = await self._making.begin(principal, project, [dataset], "sample", request_id)
        if isinstance(call, tuple):
            return call[0]
        size = sample.size_of(call.parents[0].require_content().statistics.pictures)
        source = await self._making.manifest(call.parents[0])
        how = Dealing(_classes(call.table)) if stratified else None
        (derived,) = await self._segments.draw(source, sizes=[size], seed=seed, how=how)
        draft = Draft(to, derived, {"count": size, **({"stratified": True} if stratified else {})}, seed)
        return (await self._making.keep(call, Operation.SAMPLE, [draft]))[0]

    async def split(
        self, principal: Principal, project: str, dataset: str, *, split: Split, seed: int = 0, request_id: str = ""
    ) -> Sequence[VersionSight]:
        """Deals all pictures out to several datasets; identical pictures are one, so they never straddle.

        Raises ConflictError SIGNALS_MISSING where pictures that look alike are to stay together and were not measured.
        """
        checked = split.check()
        check_seed(seed)
        call = await self._making.begin(principal, project, [dataset], "split", request_id)
        if isinstance(call, tuple):
            return call
        sizes = checked.sizes(call.parents[0].require_content().statistics.pictures)
        source = await self._making.manifest(call.parents[0])
        parts = await self._segments.draw(
            source, sizes=sizes, seed=seed, how=await self._dealing(checked, call, source)
        )
        drafts = [
            Draft(name, derived, {**checked.parameters(), "part": name}, seed)
            for name, derived in zip(checked.shares, parts, strict=True)
        ]
        return await self._making.keep(call, Operation.SPLIT, drafts)

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
        call = await self._making.begin(
            principal, project, [dataset], "copy", request_id, source_project=source_project or project
        )
        if isinstance(call, tuple):
            return call[0]
        (parent,) = call.parents
        source = await self._making.manifest(parent)
        if parent.project_id != call.project.id:
            await self._refer_to_pictures(call.project.id, source)
        content = parent.require_content()
        draft = Draft(to, Derived(source.segments, content.statistics), {"from": parent.full_name})
        return (await self._making.keep(call, Operation.COPY, [draft]))[0]

    async def _dealing(self, split: Split, call: Call, source: VersionManifest) -> Dealing | None:
        if not split.stratified and split.distance is None:
            return None
        async with self._store.snapshot() as tx:
            signals = await tx.catalogue.signal_segments(algorithm_version=SIGNALS_VERSION)
        classes = _classes(call.table) if split.stratified else None
        return Dealing(classes, split.distance, () if split.distance is None else near(signals, [source]))

    async def _refer_to_pictures(self, project_id: str, manifest: VersionManifest) -> None:
        async def refer(digests: Sequence[str]) -> None:
            """Lets the project's people read the pictures; batch by batch, so that nobody waits long."""
            async with self._store.transaction() as tx:
                await tx.blobs.reference(project_scope(project_id), digests)

        await self._segments.digests(manifest, each=refer)


def _classes(table: ClassTable) -> tuple[tuple[int, ...], ...]:
    """Returns the raw classes of each class of the map."""
    return tuple(table.rids(name) for name in table.class_map.names)
