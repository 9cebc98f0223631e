"""Keeping datasets in order: tags, pictures that look alike, differences, leaks, lineage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.curation import (
    SIGNALS_VERSION,
    Difference,
    Leaks,
    TagChange,
    check_distance,
    class_changes,
)
from lodeworks_controller.domain.dataset import DatasetVersion, Operation
from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION, MODEL_VERSION, PREDICTION_SET, Edge, Node
from lodeworks_controller.domain.manifest import Derived, near
from lodeworks_controller.domain.operation import Filter
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.catalogue import RECS
from lodeworks_controller.service.dataset import VersionSight, find_version, rids_for, sight_of
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.prediction_choice import beside, resolved
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import (
    BytesStore,
    EachDigests,
    PredictionsBeside,
    Rids,
    Stored,
    load_manifest,
)
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.version_making import Draft, VersionMaking

_SHOWN = 20
_SHOWN_MOST = 1_000
_LEAKED_FEW = 2


@dataclass(frozen=True, slots=True)
class TagWork:
    """A change of tags, resolved; ``box_rids`` None means tags of pictures."""

    change: TagChange
    condition: Condition | None
    rids: Rids
    box_rids: tuple[int, ...] | None
    first_rec: int
    beside: PredictionsBeside | None = None


@dataclass(frozen=True, slots=True)
class Thinner:
    """A version without pictures that look like another of it, and how many those were."""

    derived: Derived
    removed: int


class CurationSegments(Protocol):
    """What keeping datasets in order asks of the storage of segments. What it answers is stored and durable."""

    async def tag(self, source: VersionManifest, work: TagWork) -> Derived:
        """Changes tags of pictures or boxes."""
        ...

    async def dedup(self, source: VersionManifest, *, signals: Sequence[SegmentRef], distance: int) -> Thinner:
        """Keeps one of each group of pictures that look alike; raises ConflictError SIGNALS_MISSING."""
        ...

    async def diff(self, before: VersionManifest, after: VersionManifest, *, limit: int) -> Difference:
        """Compares the members of two versions."""
        ...

    async def leaks(
        self, parts: Sequence[VersionManifest], *, signals: Sequence[SegmentRef], distance: int | None, limit: int
    ) -> Leaks:
        """Finds what versions share; raises ConflictError SIGNALS_MISSING where likeness is asked for."""
        ...

    async def unmeasured(self, sources: Sequence[VersionManifest], *, signals: Sequence[SegmentRef]) -> Derived | None:
        """Returns the members whose pictures have no signals, as a version that nobody sees; None when all have."""
        ...

    async def take_measured(self, measured: str, *, sources: Sequence[VersionManifest]) -> SegmentRef:
        """Turns what a worker measured into a segment; raises BadOutputError."""
        ...

    async def unshrunk(self, sources: Sequence[VersionManifest], *, thumbnails: Sequence[SegmentRef]) -> Derived | None:
        """Returns the members whose pictures have no thumbnail, as a version that nobody sees; None when all have."""
        ...

    async def take_shrunk(self, shrunk: str, *, sources: Sequence[VersionManifest], each: EachDigests) -> SegmentRef:
        """Turns thumbnails that a worker made into a segment, and hands over their digests; raises BadOutputError."""
        ...

    async def thumbnails_of(
        self, sources: Sequence[VersionManifest], *, thumbnails: Sequence[SegmentRef], each: EachDigests
    ) -> None:
        """Hands over the digests of the thumbnails that pictures of versions have."""
        ...

    async def signals_of(self, source: VersionManifest, *, signals: Sequence[SegmentRef]) -> Stored:
        """Writes the signals of a version's pictures by digest."""
        ...

    async def orphans(
        self,
        dead: Sequence[VersionManifest],
        living: Sequence[VersionManifest],
        *,
        thumbnails: Sequence[SegmentRef],
        each: EachDigests,
    ) -> None:
        """Hands over the digests of pictures of the dead that none of the living has, and of their thumbnails."""
        ...


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """Two versions compared; classes under the map of now, ``class_changes`` are (raw name, was, is)."""

    before: VersionSight
    after: VersionSight
    pictures: Difference
    classes: tuple[tuple[str, int, int], ...]
    class_changes: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class NodeSight:
    """What a node of the lineage is called, for those who may see it."""

    name: str = ""
    class_revision: int = 0


@dataclass(frozen=True, slots=True)
class Lineage:
    """All that a version came from and all that came from it."""

    id: str
    up: tuple[Edge, ...]
    down: tuple[Edge, ...]
    nodes: Mapping[Node, NodeSight]


class CurationService:
    """Keeps datasets in order."""

    def __init__(self, store: Store, blobs: BytesStore, segments: CurationSegments, *, making: VersionMaking) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._making = making

    async def tag(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        change: TagChange,
        which: Filter | None = None,
        to: str = "",
        request_id: str = "",
    ) -> VersionSight:
        """Makes a version with other tags on those pictures, or on boxes of those pictures."""
        change = change.check()
        call = await self._making.begin(principal, project, [dataset], "tag", request_id)
        if isinstance(call, tuple):
            return call[0]
        (parent,) = call.parents
        box_rids: tuple[int, ...] | None = None
        first_rec = 0
        if change.boxes:
            named = change.classes or call.table.class_map.names
            box_rids = tuple(sorted({rid for name in named for rid in call.table.rids(name)}))
            async with self._store.transaction() as tx:
                first_rec = await tx.catalogue.reserve(RECS, max(1, parent.require_content().statistics.annotated))
        condition, predictions = None, ""
        if which is not None:
            condition = which.condition()
            async with self._store.snapshot() as tx:
                which, predictions = await resolved(tx, parent, which)
        work = TagWork(
            change,
            condition,
            {} if which is None else rids_for(which, call.table),
            box_rids,
            first_rec,
            await beside(self._blobs, predictions, call.table.names()),
        )
        derived = await self._segments.tag(await self._making.manifest(parent), work)
        parameters = {**change.parameters(), **({} if which is None else {"filter": which.parameters()})}
        return (await self._making.keep(call, Operation.TAG, [Draft(to, derived, parameters)]))[0]

    async def dedup(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        distance: int,
        to: str = "",
        dry_run: bool = False,
        request_id: str = "",
    ) -> tuple[VersionSight, int]:
        """Makes a version without pictures that look like another of it; a dry run only counts them."""
        check_distance(distance)
        call = await self._making.begin(principal, project, [dataset], "dedup", "" if dry_run else request_id)
        if isinstance(call, tuple):
            return call[0], await self._left_out(call[0].version)
        (parent,) = call.parents
        source = await self._making.manifest(parent)
        found = await self._segments.dedup(source, signals=await self.signals_for([source]), distance=distance)
        draft = Draft(to, found.derived, {"distance": distance})
        if dry_run:
            return self._making.preview(call, Operation.DEDUP, draft), found.removed
        return (await self._making.keep(call, Operation.DEDUP, [draft]))[0], found.removed

    async def diff(
        self, principal: Principal, project: str, before: str, after: str, *, limit: int = 0
    ) -> VersionDifference:
        """Compares two versions of a project."""
        shown = _shown(limit)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            sides = [await find_version(tx, found.id, text) for text in (before, after)]
            contents = [side.require_content() for side in sides]
            sights = [await sight_of(tx, side, table) for side in sides]
            meant = []
            for side in sides:
                then = await class_table(tx, found.id, revision=side.class_revision)
                meant.append(then.names())
            rids = sorted({rid for content in contents for rid in content.statistics.raw})
            raw = {entry.rid: entry.name for entry in await tx.classes.named(rids)}
        manifests = [await load_manifest(self._blobs, content.manifest_digest) for content in contents]
        pictures = await self._segments.diff(manifests[0], manifests[1], limit=shown)
        now = table.names()
        counts = [
            {rid: count.boxes for rid, count in content.statistics.raw.items() if rid in now} for content in contents
        ]
        boxes = [
            {name: sum(side[rid] for rid in side if now[rid] == name) for name in table.class_map.names}
            for side in counts
        ]
        changed = [change for change in class_changes(meant[0], now) if change[0] in raw]
        return VersionDifference(
            sights[0],
            sights[1],
            pictures,
            tuple((name, boxes[0][name], boxes[1][name]) for name in table.class_map.names),
            tuple((raw[rid], was, now_is) for rid, was, now_is in changed),
        )

    async def lineage(self, principal: Principal, project: str, text: str) -> Lineage:
        """Returns what a version was made from and what was made from it, through all generations."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            version = await find_version(tx, found.id, text)
            node = Node(DATASET_VERSION, version.id)
            up, down = tuple(await tx.lineage.up(node)), tuple(await tx.lineage.down(node))
            met = {end for edge in (*up, *down) for end in (edge.parent, edge.child)} | {node}
            return Lineage(version.id, up, down, await _sights(tx, found.id, met))

    async def leaks(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        *,
        distance: int | None = None,
        limit: int = 0,
    ) -> tuple[tuple[str, ...], Leaks]:
        """Returns the full names of the versions, and what each two of them share."""
        if len(datasets) < _LEAKED_FEW:
            raise InvalidError("LEAKS_INVALID", "name two or more datasets, such as train and val", field="datasets")
        if distance is not None:
            check_distance(distance)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            versions = [await find_version(tx, found.id, text) for text in datasets]
        parts = [await self._making.manifest(version) for version in versions]
        signals = () if distance is None else await self.signals_for(parts)
        shared = await self._segments.leaks(parts, signals=signals, distance=distance, limit=_shown(limit))
        return tuple(version.full_name for version in versions), shared

    async def signals_for(self, manifests: Iterable[VersionManifest]) -> tuple[SegmentRef, ...]:
        """Returns the segments in which signals of these versions' pictures can lie."""
        async with self._store.snapshot() as tx:
            known = await tx.catalogue.signal_segments(algorithm_version=SIGNALS_VERSION)
        return near(known, manifests)

    async def manifest(self, version: DatasetVersion) -> VersionManifest:
        """Returns what a READY version consists of."""
        return await self._making.manifest(version)

    async def _left_out(self, made: DatasetVersion) -> int:
        async with self._store.snapshot() as tx:
            parents = await tx.datasets.by_ids(made.making.parents)
        before = sum(parent.require_content().statistics.pictures for parent in parents.values())
        return before - made.require_content().statistics.pictures


def _shown(limit: int) -> int:
    return min(limit, _SHOWN_MOST) if limit > 0 else _SHOWN


async def _sights(tx: Transaction, project_id: str, nodes: Iterable[Node]) -> dict[Node, NodeSight]:
    """Returns how nodes are called; those of other projects stay nameless."""
    seen: dict[Node, NodeSight] = {}
    by_type: dict[str, list[str]] = {}
    for node in nodes:
        by_type.setdefault(node.type, []).append(node.id)
    versions = await tx.datasets.by_ids(by_type.get(DATASET_VERSION, ()))
    for id_, version in versions.items():
        if version.project_id == project_id:
            gone = "" if version.deleted_at is None else " (deleted)"
            seen[Node(DATASET_VERSION, id_)] = NodeSight(version.full_name + gone, version.class_revision)
    for id_ in by_type.get(PREDICTION_SET, ()):
        try:
            predicted = await tx.prediction_sets.get(id_)
        except NotFoundError:
            continue
        if predicted.project_id == project_id:
            seen[Node(PREDICTION_SET, id_)] = NodeSight(f"predictions of {predicted.model_name}")
    for id_ in by_type.get(MODEL_VERSION, ()):
        try:
            model = await tx.models.version(id_)
        except NotFoundError:
            continue
        if model.project_id == project_id:
            seen[Node(MODEL_VERSION, id_)] = NodeSight(model.full_name, model.training.class_revision)
    return seen
