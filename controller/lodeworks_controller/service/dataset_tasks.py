"""Tasks that make versions or archives: import, generate, export. A worker runs them; here they are asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import ExportOptions, GenerateOptions

from lodeworks_controller.domain.dataset import DatasetVersion, Making, Operation
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.lineage import DATASET_VERSION
from lodeworks_controller.domain.operation import check_seed
from lodeworks_controller.domain.project import Project
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.domain.task.task import NewTask, ObjectRef, Task
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.content import BlobStore, check_digest, project_scope
from lodeworks_controller.service.dataset import VersionSight, find_version, sight_of
from lodeworks_controller.service.dataset_arrival import UnknownClasses, Wish
from lodeworks_controller.service.dataset_versions import open_version
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.kinds.export import EXPORT
from lodeworks_controller.service.kinds.generate import GENERATE
from lodeworks_controller.service.kinds.ingest import IMPORT
from lodeworks_controller.service.labelled import parents_of
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

IMPORT_FORMATS = ("auto", "voc", "coco", "yolo")


class Submitter(Protocol):
    """Makes tasks inside the caller's unit of work."""

    async def submit(self, tx: Transaction, wish: NewTask) -> Task:
        """Returns the new task."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """A task and the version that it makes; none for exports and dry runs."""

    task_id: str
    version: VersionSight | None


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """An archive that was uploaded to the project, and what it was called where it came from."""

    digest: str
    name: str


class DatasetTasks:
    """Asks for imports, made pictures and exports."""

    def __init__(self, store: Store, blobs: BlobStore, tasks: Submitter, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._ids = ids

    async def import_archive(
        self,
        principal: Principal,
        project: str,
        *,
        source: ArchiveSource,
        to: str,
        format: str = "auto",  # noqa: A002 (the word on the wire and in the command line)
        unknown_classes: UnknownClasses = UnknownClasses.STOP,
        dry_run: bool = False,
        request_id: str = "",
    ) -> Started:
        """Starts an import; a dry run only makes the report."""
        if format not in IMPORT_FORMATS:
            message = f"imports read {', '.join(IMPORT_FORMATS)}, not {format}"
            raise InvalidError("SOURCE_INVALID", message, field="format")
        digest = check_digest(source.digest)
        once = Once(principal.actor, "dataset.import", request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            made = await once.result(tx)
            if made is not None:
                return await self._started(tx, found, made)
            if not await tx.blobs.referenced(project_scope(found.id), [digest]):
                raise NotFoundError("BLOB_NOT_FOUND", f"the project has no content {digest}; upload the source first")
        size_bytes = (await self._blobs.locate(digest)).size_bytes
        name = source.name.strip()[:200] or f"{digest[:12]}.zip"
        parameters = {"source": name, "digest": digest, "format": format, "unknown_classes": unknown_classes.value}
        spec = {"source": {"digest": digest, "size_bytes": size_bytes, "name": name}, "format": format}
        wish = Wish(Operation.IMPORT, name, unknown_classes, None)
        order = _Order(IMPORT, "ingest", f"import {name}", "" if dry_run else to, wish, parameters, spec)
        return await self._start(principal, project, once, order)

    async def generate(
        self,
        principal: Principal,
        project: str,
        *,
        to: str,
        count: int = 0,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> Started:
        """Starts to make pictures; classes that the project does not know are added."""
        options = _generate_options(count=count, seed=check_seed(seed), settings=settings or {})
        once = Once(principal.actor, "dataset.generate", request_id)
        parameters = json.loads(options.to_bytes())
        wish = Wish(Operation.GENERATE, f"made pictures, seed {seed}", UnknownClasses.ADD, None)
        spec = {"options": options.to_bytes().decode()}
        order = _Order(GENERATE, "generate", f"generate {to}", to, wish, parameters, spec, seed)
        return await self._start(principal, project, once, order)

    async def export(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        format: str = "voc",  # noqa: A002 (the word on the wire and in the command line)
        pictures: bool = True,
        request_id: str = "",
    ) -> Started:
        """Starts to write a version into an archive."""
        if format not in ExportOptions.FORMATS:
            message = f"exports write {', '.join(ExportOptions.FORMATS)}, not {format}"
            raise InvalidError("SETTING_INVALID", message, field="format")
        once = Once(principal.actor, "dataset.export", request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            made = await once.result(tx)
            if made is not None:
                return Started(made, None)
            version = await find_version(tx, found.id, dataset)
            waits_for = parents_of([version])
            spec = {
                "version_id": version.id,
                "format": format,
                "pictures": pictures,
                "archive_name": f"{version.name}-{version.number}-{format}.zip",
            }
            wish = NewTask(
                kind=EXPORT,
                project_id=found.id,
                title=f"export {version.full_name}",
                spec=spec,
                created_by=principal.user_id,
                depends_on=waits_for,
                requires=frozenset({"builtin:export"}),
                subject=ObjectRef(DATASET_VERSION, version.id, version.full_name),
            )
            task = await self._tasks.submit(tx, wish)
            await once.keep(tx, task.id)
            return Started(task.id, None)

    async def _start(self, principal: Principal, project: str, once: Once, order: "_Order") -> Started:
        """Makes the version and the task that fills it, in one unit of work."""
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            made = await once.result(tx)
            if made is not None:
                return await self._started(tx, found, made)
            version: DatasetVersion | None = None
            if order.to:
                version = await open_version(
                    tx,
                    found,
                    to=check_name(order.to, field="to"),
                    making=Making(order.wish.operation, (), order.parameters, order.seed),
                    created_by=principal.user_id,
                    class_revision=found.class_revision,
                    ids=self._ids,
                )
            wish = Wish(
                order.wish.operation,
                order.wish.source,
                order.wish.unknown_classes,
                None if version is None else version.id,
            )
            task = await self._tasks.submit(
                tx,
                NewTask(
                    kind=order.kind,
                    project_id=found.id,
                    title=order.title,
                    spec={**order.spec, **wish.to_json()},
                    created_by=principal.user_id,
                    requires=frozenset({f"builtin:{order.builtin}"}),
                    subject=None if version is None else ObjectRef(DATASET_VERSION, version.id, version.full_name),
                ),
            )
            if version is not None:
                await tx.datasets.put_version(version.with_task(task.id))
            await once.keep(tx, task.id)
            return await self._started(tx, found, task.id)

    async def _started(self, tx: Transaction, project: Project, task_id: str) -> Started:
        task = await tx.tasks.get(task_id)
        if task.subject is None:
            return Started(task_id, None)
        version = await tx.datasets.version(task.subject.id)
        return Started(task_id, await sight_of(tx, version, await class_table(tx, project.id)))


@dataclass(frozen=True, slots=True)
class _Order:
    """A task to be made together with the version that it fills; no version without ``to``."""

    kind: str
    builtin: str
    title: str
    to: str
    wish: Wish
    parameters: Mapping[str, Any]
    spec: Mapping[str, Any]
    seed: int | None = None


def _generate_options(*, count: int, seed: int, settings: Mapping[str, Any]) -> GenerateOptions:
    reserved = {"seed": seed, "archive": False, **({"pictures": count} if count else {})}
    known = {field.name for field in fields(GenerateOptions)} - {"archive", "seed"}
    wrong = next((key for key in settings if key not in known or key in reserved), None)
    if wrong is not None:
        message = f"made pictures have no setting {wrong!r}; they have {', '.join(sorted(known))}"
        raise InvalidError("SETTING_INVALID", message, field="settings")
    try:
        options = GenerateOptions.from_bytes(json.dumps({**settings, **reserved}).encode())
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", error.message, field="settings") from error
    if not 1 <= options.pictures <= MADE_MANY:
        message = f"{options.pictures} pictures cannot be made; ask for 1 to {MADE_MANY:,}"
        raise InvalidError("SETTING_INVALID", message, field="count")
    return options


MADE_MANY = 1_000_000
