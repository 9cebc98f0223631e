"""What people see of datasets, and what they do to their names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lodeworks_controller.domain.dataset import DatasetVersion, VersionState
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION, Edge, Node
from lodeworks_controller.domain.manifest import near
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.operation import Filter
from lodeworks_controller.domain.outcome import HasPrediction
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.domain.report import StoredReport
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.errors import ConflictError, NotFoundError
from lodeworks_controller.service.dataset import (
    ClassFigures,
    DatasetSight,
    Figures,
    VersionSight,
    dataset_sights,
    find_dataset,
    find_version,
    rids_for,
    sight_of,
)
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.object_class import ClassTable, class_table
from lodeworks_controller.service.prediction_choice import beside, find_predictions, resolved
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, Page, PageWish, Segments, load_manifest
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task_rows import TaskFilter


class DatasetService:
    """Shows datasets, and does to their names what costs nothing."""

    def __init__(self, store: Store, blobs: BytesStore, segments: Segments) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments

    async def list(
        self,
        principal: Principal,
        project: str,
        *,
        after_name: str = "",
        limit: int = 100,
        include_hidden: bool = False,
    ) -> Sequence[DatasetSight]:
        """Returns the datasets of a project by name."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            rows = await tx.datasets.list(found.id, after_name=after_name, limit=limit, include_hidden=include_hidden)
            return await dataset_sights(tx, rows, table)

    async def get(self, principal: Principal, project: str, text: str) -> tuple[DatasetSight, VersionSight]:
        """Returns a dataset and one version of it, with figures by class when it is READY."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            version = await find_version(tx, found.id, text)
            dataset = await tx.datasets.get(version.dataset_id)
            (whole,) = await dataset_sights(tx, [dataset], table)
            sight = await sight_of(tx, version, table)
        if version.state is VersionState.READY:
            sight = replace(sight, figures=await self._figures(version, table, ClassSelection()))
        return whole, sight

    async def versions(
        self, principal: Principal, project: str, dataset: str, *, before_number: int | None = None, limit: int = 100
    ) -> Sequence[VersionSight]:
        """Returns the versions of a dataset, newest first."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            mine = await find_dataset(tx, found.id, dataset)
            rows = await tx.datasets.versions(mine.id, before_number=before_number, limit=limit)
            return [await sight_of(tx, version, table) for version in rows]

    async def lineage(self, principal: Principal, project: str, text: str) -> tuple[Sequence[Edge], Sequence[Edge]]:
        """Returns what a version was made from and what was made from it, through all generations."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            version = await find_version(tx, found.id, text)
            node = Node(DATASET_VERSION, version.id)
            return await tx.lineage.up(node), await tx.lineage.down(node)

    async def stats(
        self, principal: Principal, project: str, text: str, *, selection: ClassSelection | None = None
    ) -> Figures:
        """Returns the counts of a version, by class."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            version = await find_version(tx, found.id, text)
        return await self._figures(version, table, selection or ClassSelection())

    async def page(
        self,
        principal: Principal,
        project: str,
        text: str,
        *,
        which: Filter | None = None,
        prediction_set_id: str = "",
        after_aid: int = 0,
        limit: int = 100,
        thumbnails: bool = False,
    ) -> Page:
        """Returns pictures behind an aid with their boxes, and those of a prediction set beside them.

        Shown is the set that is named, else the one that the filter asks about.
        """
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            table = await class_table(tx, found.id)
            version = await find_version(tx, found.id, text)
            content = version.require_content()
            condition, asked = None, ""
            if which is not None:
                condition = which.condition()
                which, asked = await resolved(tx, version, which)
            shown = asked
            if prediction_set_id:
                shown = (await find_predictions(tx, version, prediction_set_id)).manifest_digest
            small = await tx.catalogue.thumbnail_segments() if thumbnails else ()
        classes = table.names()
        manifest = await load_manifest(self._blobs, content.manifest_digest)
        wish = PageWish(
            after_aid=after_aid,
            limit=limit,
            condition=condition,
            rids={} if which is None else rids_for(which, table),
            beside=await beside(self._blobs, asked, classes),
            predictions=await load_manifest(self._blobs, shown) if shown else None,
            compared=HasPrediction() if which is None or which.predictions is None else which.predictions.condition(),
            thumbnails=near(small, [manifest]),
        )
        return await self._segments.page(manifest, wish, classes=classes)

    async def report(
        self, principal: Principal, project: str, *, version: str = "", task_id: str = ""
    ) -> tuple[StoredReport, bytes]:
        """Returns the report of an import, by the version that it made or by its task."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            version_id = "" if task_id else (await find_version(tx, found.id, version)).id
            report = await tx.datasets.report(task_id=task_id, version_id=version_id)
            if report is None or report.project_id != found.id:
                message = f"{version or task_id} has no import report; only imports have one"
                raise NotFoundError("REPORT_NOT_FOUND", message)
        return report, await self._blobs.read(report.digest)

    async def rename(
        self, principal: Principal, project: str, dataset: str, name: str, *, request_id: str = ""
    ) -> DatasetSight:
        """Gives a dataset another name; its versions follow."""
        once = Once(principal.actor, "dataset.rename", request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            made = await once.result(tx)
            if made is None:
                mine = await find_dataset(tx, found.id, dataset)
                renamed = replace(mine, name=check_name(name))
                await tx.datasets.put(renamed)
                detail = {"from": mine.name, "to": renamed.name}
                await tx.audit.add("dataset.rename", mine.id, actor=principal.actor, project_id=found.id, detail=detail)
                await once.keep(tx, mine.id)
                made = mine.id
            current = await tx.datasets.get(made)
            return (await dataset_sights(tx, [current], await class_table(tx, found.id)))[0]

    async def delete(self, principal: Principal, project: str, text: str, *, request_id: str = "") -> None:
        """Deletes a version, or a dataset with all of its versions; refused while tasks use them."""
        once = Once(principal.actor, "dataset.delete", request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            if await once.result(tx) is not None:
                return
            gone = await _named(tx, found.id, text)
            await _refuse_in_use(tx, found.id, gone)
            for version in gone:
                await tx.datasets.put_version(replace(version, deleted_at=tx.now()))
            dataset = await tx.datasets.get(gone[0].dataset_id) if gone else await find_dataset(tx, found.id, text)
            if not await tx.datasets.versions(dataset.id, limit=1):
                await tx.datasets.put(replace(dataset, deleted_at=tx.now()))
            detail = {"versions": [version.full_name for version in gone]}
            await tx.audit.add("dataset.delete", dataset.id, actor=principal.actor, project_id=found.id, detail=detail)
            await once.keep(tx, dataset.id)

    async def _figures(self, version: DatasetVersion, table: ClassTable, selection: ClassSelection) -> Figures:
        content = version.require_content()
        statistics = content.statistics
        chosen = selection.apply(table.class_map)
        shown = table.names()
        raw = statistics.raw
        groups = [[rid for rid, name in shown.items() if name == wanted and rid in raw] for wanted in chosen]
        everything = [rid for rid in shown if rid in raw]
        # What one raw class alone means is counted already; only names that came together are looked for.
        asked = [group for group in (*groups, everything) if len(group) > 1]
        manifest = await load_manifest(self._blobs, content.manifest_digest)
        counted = iter(await self._segments.positives(manifest, asked) if asked else ())
        *pictures, positive = [
            next(counted) if len(group) > 1 else sum(raw[rid].pictures for rid in group)
            for group in (*groups, everything)
        ]
        boxes = {rid: count.boxes for rid, count in raw.items()}
        return Figures(
            pictures=statistics.pictures,
            annotated=statistics.annotated,
            empty=statistics.annotated - positive,
            boxes=sum(count for rid, count in boxes.items() if rid in shown),
            ignored_boxes=sum(count for rid, count in boxes.items() if rid not in shown),
            size_bytes=statistics.picture_bytes,
            classes=tuple(
                ClassFigures(name, sum(boxes.get(rid, 0) for rid in group), count, statistics.annotated - count)
                for name, group, count in zip(chosen, groups, pictures, strict=True)
            ),
        )


async def _named(tx: Transaction, project_id: str, text: str) -> Sequence[DatasetVersion]:
    """Returns one version for ``name@3`` or a version's id, all of them for a dataset's name or id."""
    dataset = None if "@" in text else await tx.datasets.find(project_id, text)
    if dataset is None:
        return [await find_version(tx, project_id, text)]
    return await tx.datasets.versions(dataset.id, limit=1_000_000)


async def _refuse_in_use(tx: Transaction, project_id: str, gone: Sequence[DatasetVersion]) -> None:
    running = frozenset(state for state in TaskState if not state.final)
    ids = {version.id for version in gone}
    tasks = await tx.tasks.list(TaskFilter(project_ids=frozenset({project_id}), states=running, limit=1_000))
    using = [task for task in tasks if ids & _ids_in(task.spec) or (task.subject and task.subject.id in ids)]
    if using:
        named = ", ".join(f"{task.kind} {task.id}" for task in using[:5])
        message = f"a task that is not over uses it: {named}; cancel it or wait"
        raise ConflictError("DATASET_IN_USE", message, tasks=named)


def _ids_in(spec: Mapping[str, object]) -> set[str]:
    """Returns every text in a task's spec: ids of versions stand there under names that the kinds choose."""
    found: set[str] = set()
    waiting: list[object] = [spec]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return found
