"""The datasets of a controller, in process: real database, real blobs, real pool; only the worker is played."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lodeworks_controller.domain.identity import InstallationRole, Principal, User
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.service.content_scope import project_scope, task_scope
from lodeworks_controller.service.dataset_arrival import DatasetArrival, UnknownClasses
from lodeworks_controller.service.dataset_operations import DatasetOperations
from lodeworks_controller.service.dataset_service import DatasetService
from lodeworks_controller.service.dataset_tasks import DatasetTasks
from lodeworks_controller.service.import_wish import ImportSource, ImportWish
from lodeworks_controller.service.kinds.base import Kinds
from lodeworks_controller.service.kinds.export import ExportKind
from lodeworks_controller.service.kinds.generate import GenerateKind
from lodeworks_controller.service.kinds.ingest import ImportKind, LabelsKind
from lodeworks_controller.service.object_class import ClassService
from lodeworks_controller.service.prediction_set import PredictionSetService
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.project_service import ProjectService
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.view import ViewService
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.blobs.objects import ObjectBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.storage.segments.engine import SegmentEngine
from lodeworks_controller.storage.segments.workshop import Workshop
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import write_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lodeworks_controller.domain.task.task import Task
    from lodeworks_controller.service.blob_store import BlobStore
    from lodeworks_controller.storage.segments.pool import Pool

START = datetime(2026, 3, 1, tzinfo=UTC)


def picture_bytes(seed: object) -> bytes:
    """Returns bytes that stand for a picture; nothing here decodes them."""
    return f"picture {seed}".encode()


def picture(seed: object, *boxes: Box, annotated: bool = True, **more) -> Picture:
    """Returns a picture of 640 × 480 with these boxes."""
    data = picture_bytes(seed)
    given = {"names": (f"{seed}.jpg",), "width": 640, "height": 480, **more}
    return Picture(
        digest=hashlib.sha256(data).hexdigest(),
        extension="jpg",
        size_bytes=len(data),
        boxes=boxes if annotated else None,
        **given,
    )


def box(name: str, x: float = 10, y: float = 20, w: float = 30, h: float = 40, **more) -> Box:
    """Returns a box somewhere inside."""
    return Box(name, x, y, w, h, **more)


def report_of(pictures: Sequence[Picture], **more) -> dict[str, object]:
    """Returns the report that an honest executor would write."""
    annotated = [entry for entry in pictures if entry.boxes is not None]
    predicted = [entry for entry in pictures if entry.predictions is not None]
    boxes = Counter(found.class_name for entry in annotated for found in entry.boxes)
    predictions = Counter(found.class_name for entry in predicted for found in entry.predictions)

    def tally(count: int, **extra: int) -> dict[str, int]:
        return {"total": count, "accepted": count, "merged": 0, "rejected": 0, **extra}

    return {
        "report_version": 1,
        "format": "voc",
        "files": tally(len(pictures) + len(annotated) + len(predicted), other=0),
        "pictures": tally(len(pictures)),
        "annotations": tally(len(annotated)),
        "predictions": tally(len(predicted)),
        "boxes": tally(boxes.total(), clipped=0),
        "predicted_boxes": tally(predictions.total(), clipped=0),
        "annotated": len(annotated),
        "classes": dict(boxes),
        "reasons": {},
        "problems": [],
        **more,
    }


@dataclass
class DatasetWorld:
    """A controller's datasets and one administrator.

    Args:
        root: Where its files lie.
        pool: Where jobs run.
        now: What its clock shows.
        database: Address of an empty database; None = a file of SQLite.
        objects: An object store for its content; None = a folder.
        beside: Another controller on the same database and content, which was opened before.
    """

    root: Path
    pool: Pool
    now: datetime = START
    administrator: Principal = field(init=False)
    database: str = ""
    objects: Any = None
    beside: DatasetWorld | None = None

    async def open(self) -> DatasetWorld:
        """Opens database and blobs and wires the services."""
        self.ids = ulids(self.clock)
        address = self.database or self.root / "database.sqlite"
        self.store = await SqlStore.open(address, clock=self.clock, ids=self.ids)
        if self.beside is None:
            await self.store.create_schema()
        self.blobs = self._content()
        shop = Workshop(self.blobs, self.pool, scratch=self.root / "scratch")
        shop.open()
        self.segments = SegmentEngine(shop)
        self.projects = ProjectService(self.store, ids=self.ids)
        self.classes = ClassService(self.store, ids=self.ids)
        self.datasets = DatasetService(self.store, self.blobs, self.segments)
        self.operations = DatasetOperations(self.store, self.blobs, self.segments, ids=self.ids)
        self.views = ViewService(self.store, self.blobs, self.segments)
        self.predictions = PredictionSetService(self.store, self.blobs, self.segments, ids=self.ids)
        arrival = DatasetArrival(self.store, self.blobs, self.segments, predictions=self.predictions, ids=self.ids)
        self.imports = ImportKind(arrival, self.blobs)
        self.exports = ExportKind(self.views, self.blobs)
        labels = LabelsKind(arrival, self.blobs, self.views)
        self.kinds = Kinds([self.imports, labels, self.exports, GenerateKind(arrival, self.blobs)])
        wakes = Wakes()
        self.settlement = Settlement(self.kinds, wakes=wakes)
        self.task_service = TaskService(self.store, settlement=self.settlement, enter=enter, wakes=wakes, ids=self.ids)
        self.tasks = DatasetTasks(self.store, self.blobs, self.task_service, ids=self.ids)
        if self.beside is None:
            self.administrator = await self.person("ada", role=InstallationRole.ADMINISTRATOR)
        else:
            self.administrator = self.beside.administrator
        return self

    def _content(self) -> BlobStore:
        if self.beside is not None:
            return self.beside.blobs
        if self.objects is not None:
            store = ObjectBlobStore(self.objects, self.store, folder=self.root / "content", ids=self.ids)
            store.open()
            return store
        kept = DiskBlobStore(self.root / "blobs", ids=self.ids, reserve_bytes=0)
        kept.open()
        return self.spared(kept)

    async def close(self) -> None:
        """Closes the database."""
        await self.store.close()

    def spared(self, kept: DiskBlobStore) -> BlobStore:
        """Returns what everybody stores in; who collects beside puts something between."""
        return kept

    def clock(self) -> datetime:
        """Returns the moment that the test has set."""
        return self.now

    async def person(self, name: str, *, role: InstallationRole = InstallationRole.USER) -> Principal:
        """Makes an account."""
        user = User(self.ids(), name, role, self.now)
        async with self.store.transaction() as tx:
            await tx.users.add(user)
        return Principal(user.id, user.name, user.role)

    async def project(self, name: str = "cells", *, classes: Sequence[str] = ("RBC", "WBC")) -> str:
        """Makes a project of the administrator and returns its name."""
        await self.projects.create(self.administrator, name, class_names=classes)
        return name

    async def start_import(
        self, project: str, to: str, *, dry_run: bool = False, unknown: str = "stop", labels_for: str = ""
    ) -> Task:
        """Uploads an archive and asks for its import."""
        blob = await self.blobs.put_bytes(f"archive for {to}".encode())
        found = await self.projects.get(self.administrator, project)
        async with self.store.transaction() as tx:
            await tx.blobs.reference(project_scope(found.project.id), [blob.digest])
        wish = ImportWish(unknown_classes=UnknownClasses(unknown), dry_run=dry_run, labels_for=labels_for)
        started = await self.tasks.import_source(
            self.administrator, project, source=ImportSource(blob.digest, f"{to}.zip"), to=to, wish=wish
        )
        return await self.task_service.get(self.administrator, started.task_id)

    async def upload(self, task: Task, pictures: Sequence[Picture], *, report=None) -> tuple[Output, ...]:
        """Plays the worker: stores pictures, exchange form and report in the task's scope."""
        path = self.root / f"{task.id}.parquet"
        write_pictures(path, pictures, kind="exchange")
        exchange = await self.blobs.put_file(path)
        told = await self.blobs.put_bytes(canonical_json(report_of(pictures) if report is None else report))
        known = {name.removesuffix(".jpg") for entry in pictures for name in entry.names}
        stored = [(await self.blobs.put_bytes(picture_bytes(seed))).digest for seed in sorted(known)]
        async with self.store.transaction() as tx:
            await tx.blobs.reference(task_scope(task.id), [exchange.digest, told.digest, *stored])
        return (
            Output("exchange", exchange.digest, exchange.size_bytes),
            Output("report", told.digest, told.size_bytes),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]):
        """Plays the finisher: checks the outputs and commits; answers what was made."""
        commit = await self.kinds.get(task.kind).finish(task, outputs)
        async with self.store.transaction() as tx:
            made = await commit(tx)
            now = await tx.tasks.get(task.id)
            await tx.tasks.swap(now, replace(now, state=TaskState.FINISHING))
            await self.settlement.succeed(tx, await tx.tasks.get(task.id), made)
            return made

    async def imported(self, project: str, to: str, pictures: Sequence[Picture], *, unknown: str = "stop") -> str:
        """Imports pictures and returns the full name of the version."""
        task = await self.start_import(project, to, unknown=unknown)
        made = await self.finish(task, await self.upload(task, pictures))
        return made[0].name

    async def pictures(self, project: str, dataset: str) -> list[Picture]:
        """Returns all pictures of a version by their page."""
        found, after = [], 0
        while True:
            page = await self.datasets.page(self.administrator, project, dataset, after_aid=after, limit=7)
            found += [entry for _, entry in page.pictures]
            if page.after_aid is None:
                return found
            after = page.after_aid
