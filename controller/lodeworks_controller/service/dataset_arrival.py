"""Arrivals: what an import or a generator left becomes a version, and predictions beside it a prediction set."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lodeworks_formats.manifest import SegmentRef
from lodeworks_formats.task_inputs import EXCHANGE, REPORT

from lodeworks_controller.domain.dataset import DatasetVersion, Operation
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.manifest import Derived
from lodeworks_controller.domain.object_class import ClassMap
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.domain.prediction_set import key_of_name
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.domain.report import StoredReport, check_agreement, check_report, complete_report
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, InvalidError, LodeworksError, UnavailableError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.catalogue import AIDS, CATALOGUE_SCOPE, RECS
from lodeworks_controller.service.content_scope import project_scope, task_scope
from lodeworks_controller.service.dataset_versions import Filled, fill_version, manifest_of
from lodeworks_controller.service.model_use import model_use
from lodeworks_controller.service.object_class import store_map
from lodeworks_controller.service.prediction_set import CommitSet, Predicted, PredictionSetService
from lodeworks_controller.service.segments import (
    Arrived,
    Inspection,
    Segments,
    load_manifest,
    store_json,
    store_manifest,
)
from lodeworks_controller.service.store import Store, Transaction

Commit = Callable[[Transaction], Awaitable[tuple[ObjectRef, ...]]]


class UnknownClasses(Enum):
    """What an import does with classes that the project does not know."""

    STOP = "stop"
    IGNORE = "ignore"
    ADD = "add"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the task's spec says about an arrival."""

    operation: Operation
    source: str
    unknown_classes: UnknownClasses
    version_id: str | None
    """None for a dry run."""
    labels_for: str | None = None
    """The version whose pictures get annotations; None where pictures come in."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain data for a task's spec."""
        return {
            "operation": self.operation.value,
            "source_name": self.source,
            "unknown_classes": self.unknown_classes.value,
            "version_id": self.version_id,
        }

    @staticmethod
    def of(task: Task) -> "Wish":
        """Returns the wish in a task's spec."""
        spec = task.spec
        return Wish(
            operation=Operation(spec["operation"]),
            source=spec["source_name"],
            unknown_classes=UnknownClasses(spec["unknown_classes"]),
            version_id=spec["version_id"],
            labels_for=spec.get("labels_for"),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found before anything was written."""

    inspection: Inspection
    assets: tuple[SegmentRef, ...]
    generation: int
    before: ClassMap
    after: ClassMap
    unknown: Mapping[str, int]
    ignored: Mapping[str, int]


class DatasetArrival:
    """Checks what came back, since the executor is not trusted, and makes it part of the catalogue."""

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        segments: Segments,
        *,
        predictions: PredictionSetService,
        ids: Ids,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._predictions = predictions
        self._ids = ids

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Writes all that is heavy and answers what is left to commit.

        Raises:
            BadOutputError: The exchange form or the report cannot be believed.
            InvalidError: UNKNOWN_CLASSES, when the import is to stop for them.
            UnavailableError: Another import was faster; the finisher tries again.
        """
        wish = Wish.of(task)
        by_role = {output.role: output for output in outputs}
        missing = [role for role in (EXCHANGE, REPORT) if role not in by_role]
        if missing:
            raise BadOutputError("the executor left none", file=missing[0])
        exchange = by_role[EXCHANGE].digest
        report = check_report(_json(await self._blobs.read(by_role[REPORT].digest)))
        found = await self._find(task, wish, exchange)
        check_agreement(
            report,
            pictures=found.inspection.pictures,
            annotated=found.inspection.annotated,
            boxes=sum(found.inspection.boxes.values()),
            predicted_boxes=sum(found.inspection.prediction_boxes.values()),
        )
        told = complete_report(
            report,
            source=wish.source,
            pictures_known=found.inspection.pictures - found.inspection.new_pictures,
            unknown_classes=found.unknown,
            ignored_classes=found.ignored,
            decision=wish.unknown_classes.value,
            dry_run=wish.version_id is None,
        )
        report_digest = await store_json(self._blobs, told)
        if wish.version_id is None:
            return self._keep_report(task, report_digest)
        if found.unknown and wish.unknown_classes is UnknownClasses.STOP:
            raise _unknown(found.unknown)
        return await self._fill(task, exchange, found, model=_model_named(report), report_digest=report_digest)

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> None:
        """Marks the version as failed and keeps the report, if there is one."""
        wish = Wish.of(task)
        if wish.version_id is not None:
            version = await tx.datasets.version(wish.version_id)
            failure = f"its {wish.operation.value} ended with {reason.value}; see `lode task show {task.id}`"
            await tx.datasets.put_version(version.fail(failure))
        report = next((output for output in outputs if output.role == REPORT), None)
        if report is not None:
            await self._put_report(tx, task, wish.version_id, report.digest)

    async def _find(self, task: Task, wish: Wish, exchange: str) -> _Found:
        async with self._store.snapshot() as tx:
            generation = await tx.catalogue.asset_generation()
            assets = tuple(await tx.catalogue.asset_segments())
            before = await tx.classes.get(task.project_id)

        async def check(digests: Sequence[str]) -> None:
            """Refuses pictures that this task did not bring and that its project does not have."""
            await self._check_present(task, digests)

        inspection = await self._segments.inspect(exchange, assets=assets, each=check)
        fresh = before.unknown(inspection.class_names)
        boxes: Counter[str] = Counter()
        for counts in (inspection.boxes, inspection.prediction_boxes):
            for name, count in counts.items():
                boxes[fold(name)] += count
        after = before
        if fresh and wish.unknown_classes is UnknownClasses.ADD:
            after = before.add(fresh, ids=self._ids)
        elif fresh and wish.unknown_classes is UnknownClasses.IGNORE:
            after = before.ignore(fresh)
        # What somebody decided about a name stays; only they can take it back, and the report says so.
        decided = [name for name in before.meaningless(inspection.class_names) if name not in fresh]
        counted = [{name: boxes[fold(name)] for name in names} for names in (fresh, decided)]
        return _Found(inspection, assets, generation, before, after, *counted)

    async def _check_present(self, task: Task, digests: Sequence[str]) -> None:
        async with self._store.snapshot() as tx:
            allowed = await tx.blobs.referenced(task_scope(task.id), digests)
            rest = [digest for digest in digests if digest not in allowed]
            if rest:
                allowed |= await tx.blobs.referenced(project_scope(task.project_id), rest)
        absent = [digest for digest in digests if digest not in allowed]
        absent += sorted(await self._blobs.find_missing(allowed))
        if absent:
            raise BadOutputError(f"picture {absent[0]} was named and not uploaded", file=EXCHANGE)

    async def _fill(
        self, task: Task, exchange: str, found: _Found, *, model: Mapping[str, str], report_digest: str
    ) -> Commit:
        wish = Wish.of(task)
        assert wish.version_id is not None
        arrived = await self._arrive(task, wish, exchange, found)
        async with self._store.snapshot() as tx:
            version = await tx.datasets.version(wish.version_id)
            parents = await self._parents(tx, wish)
        content = arrived.version if not parents else await self._labelled(arrived.version, version, parents[0])
        manifest = manifest_of(
            content,
            parents=parents,
            object_type=version.object_type.value,
            operation=version.making.operation,
            parameters=version.making.parameters,
            seed=version.making.seed,
            class_revision=found.after.revision,
        )
        digest = await store_manifest(self._blobs, manifest)
        filled = Filled(manifest, digest, content, report_digest)
        keep_set: CommitSet | None = None
        if arrived.predictions is not None:
            by = await self._predicted(task, model)
            keep_set = await self._predictions.keep(arrived.predictions, version=version, manifest_digest=digest, by=by)
        await self._segments.digests(manifest, each=lambda digests: self._refer(task.project_id, digests))

        async def commit(tx: Transaction) -> tuple[ObjectRef, ...]:
            if await tx.catalogue.asset_generation() != found.generation:
                raise UnavailableError("CATALOGUE_MOVED", "another import was faster; this one is numbered again")
            project = await tx.projects.get(task.project_id)
            if await tx.classes.get(project.id) != found.before:
                raise UnavailableError("CLASSES_CHANGED", "the classes changed meanwhile; they are looked up again")
            for segment in arrived.assets:
                await tx.catalogue.add_asset_segment(segment)
            # Later imports look pictures up in it, whatever becomes of this project's version.
            await tx.blobs.reference(CATALOGUE_SCOPE, [segment.digest for segment in arrived.assets])
            await store_map(tx, project, found.before, found.after)
            current = await tx.datasets.version(version.id)
            ready = await fill_version(tx, current, filled, class_revision=found.after.revision)
            await self._put_report(tx, task, version.id, report_digest)
            made = ObjectRef("dataset_version", ready.id, ready.full_name)
            if keep_set is None:
                return (made,)
            shown = await keep_set(tx)
            return made, ObjectRef("prediction_set", shown.id, shown.model_name)

        return commit

    async def _parents(self, tx: Transaction, wish: Wish) -> tuple[DatasetVersion, ...]:
        return () if wish.labels_for is None else (await tx.datasets.version(wish.labels_for),)

    async def _labelled(self, labels: Derived, version: DatasetVersion, parent: DatasetVersion) -> Derived:
        """Returns the parent's pictures, with the new annotations where there are some."""
        over = manifest_of(labels, object_type=version.object_type.value, operation=version.making.operation)
        below = await load_manifest(self._blobs, parent.require_content().manifest_digest)
        return await self._segments.merge(over, below, conflict=Conflict.HOST)

    async def _predicted(self, task: Task, model: Mapping[str, str]) -> Predicted:
        """Returns who predicted: the stage of the project's own model that meta.yaml means, else the name it says."""
        name = model["name"] or model["model_hash"] or "imported"
        if model["name"]:
            text = f"{model['name']}:{model['stage_name']}" if model["stage_name"] else model["name"]
            async with self._store.snapshot() as tx:
                for meant in dict.fromkeys((text, model["name"])):
                    with suppress(LodeworksError):
                        use = await model_use(tx, task.project_id, meant, with_onnx=False)
                        return Predicted(use.key, use.model_name, task_id=task.id)
        return Predicted(key_of_name(name), name, task_id=task.id)

    async def _arrive(self, task: Task, wish: Wish, exchange: str, found: _Found) -> Arrived:
        inspection = found.inspection
        async with self._store.transaction() as tx:
            rids = await tx.classes.intern(inspection.class_names)
            first_aid = await tx.catalogue.reserve(AIDS, inspection.new_pictures) if inspection.new_pictures else 0
            first_rec = await tx.catalogue.reserve(RECS, max(1, inspection.annotated + inspection.predicted))
        return await self._segments.arrive(
            exchange,
            assets=found.assets,
            rids=rids,
            first_aid=first_aid,
            first_rec=first_rec,
            source=wish.source,
            import_id=task.id,
        )

    def _keep_report(self, task: Task, report_digest: str) -> Commit:
        async def commit(tx: Transaction) -> tuple[ObjectRef, ...]:
            await self._put_report(tx, task, None, report_digest)
            return (ObjectRef("import_report", task.id),)

        return commit

    async def _put_report(self, tx: Transaction, task: Task, version_id: str | None, digest: str) -> None:
        await tx.datasets.put_report(StoredReport(task.id, task.project_id, version_id, digest, tx.now()))
        await tx.blobs.reference(project_scope(task.project_id), [digest])

    async def _refer(self, project_id: str, digests: Sequence[str]) -> None:
        """Lets the project's people read the pictures; in batches, so that nobody waits long for the writer."""
        async with self._store.transaction() as tx:
            await tx.blobs.reference(project_scope(project_id), digests)


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadOutputError(f"the report is no JSON ({error})", file=REPORT) from error


def _model_named(report: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns what the report says of the model behind the predictions: name, model_hash, stage_name."""
    model = report.get("prediction_model")
    told = model if isinstance(model, dict) else {}
    values = {key: told.get(key) for key in ("name", "model_hash", "stage_name")}
    return {key: value.strip()[:200] if isinstance(value, str) else "" for key, value in values.items()}


def _unknown(unknown: Mapping[str, int]) -> InvalidError:
    named = ", ".join(f"{name} ({count} boxes)" for name, count in sorted(unknown.items())[:20])
    listed = " ".join(f'"{name}"' if " " in name else name for name in sorted(unknown)[:20])
    message = (
        f"the project does not know these classes: {named}; add them with `lode class add {listed}`,"
        " or import with --unknown-classes add or ignore"
    )
    return InvalidError("UNKNOWN_CLASSES", message, field="unknown_classes", classes=", ".join(sorted(unknown)))
