"""Tasks that make versions or archives: import, generate, export. A worker runs them; here they are asked for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef, Task
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.dataset import VersionSight, find_version, sight_of
from lodeworks_controller.service.dataset_arrival import UnknownClasses, Wish
from lodeworks_controller.service.dataset_versions import open_version
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.import_wish import ImportSource, ImportWish
from lodeworks_controller.service.kinds.export import EXPORT
from lodeworks_controller.service.kinds.generate import GENERATE
from lodeworks_controller.service.kinds.ingest import IMPORT, LABELS
from lodeworks_controller.service.labelled import parents_of
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction


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


class DatasetTasks:
    """Asks for imports, made pictures and exports."""

    def __init__(self, store: Store, blobs: BlobStore, tasks: Submitter, *, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._ids = ids

    async def import_source(
        self,
        principal: Principal,
        project: str,
        *,
        source: ImportSource,
        to: str,
        wish: ImportWish | None = None,
        options: TaskOptions | None = None,
        request_id: str = "",
    ) -> Started:
        """Starts an import; a dry run only makes the report."""
        how, given = (wish or ImportWish()).checked(), source.checked()
        once = Once(principal.actor, "dataset.import", request_id)
        labelled: DatasetVersion | None = None
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            made = await once.result(tx)
            if made is not None:
                return await self._started(tx, found, made)
            if given.digest and not await tx.blobs.referenced(project_scope(found.id), [given.digest]):
                message = f"the project has no content {given.digest}; upload the source first"
                raise NotFoundError("BLOB_NOT_FOUND", message)
            if how.labels_for:
                labelled = await find_version(tx, found.id, how.labels_for)
                parents_of([labelled])
        told: dict[str, Any] = {key: value for key, value in asdict(given).items() if value}
        parameters = {"source": given.name, **({"digest": given.digest} if given.digest else {}), **how.to_json()}
        if given.digest:
            told["size_bytes"] = (await self._blobs.locate(given.digest)).size_bytes
        spec: dict[str, Any] = {"source": told, **how.to_json()}
        order = _Order(
            options=options or TaskOptions(),
            kind=IMPORT if labelled is None else LABELS,
            builtin="ingest",
            title=f"import {given.name}",
            to="" if how.dry_run else to or ("" if labelled is None else labelled.name),
            wish=Wish(Operation.IMPORT, given.name, how.unknown_classes, None),
            parameters=parameters,
            spec=spec if labelled is None else {**spec, "labels_for": labelled.id},
            parents=() if labelled is None else (labelled,),
        )
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
        options: TaskOptions | None = None,
        request_id: str = "",
    ) -> Started:
        """Starts to make pictures; classes that the project does not know are added."""
        made = _generate_options(count=count, seed=check_seed(seed), settings=settings or {})
        once = Once(principal.actor, "dataset.generate", request_id)
        parameters = json.loads(made.to_bytes())
        wish = Wish(Operation.GENERATE, f"made pictures, seed {seed}", UnknownClasses.ADD, None)
        spec = {"options": made.to_bytes().decode()}
        order = _Order(
            options or TaskOptions(), GENERATE, "generate", f"generate {to}", to, wish, parameters, spec, seed
        )
        return await self._start(principal, project, once, order)

    async def export(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        *,
        format: str = "voc",  # noqa: A002 (the word on the wire and in the command line)
        pictures: bool = True,
        prediction_set_id: str = "",
        options: TaskOptions | None = None,
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
            model_name = ""
            if prediction_set_id:
                model_name = await _predicting(tx, found, prediction_set_id, format=format)
            spec = {
                "version_id": version.id,
                "format": format,
                "pictures": pictures,
                "prediction_set_id": prediction_set_id,
                "model_name": model_name,
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
                options=options or TaskOptions(),
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
                    making=Making(
                        order.wish.operation,
                        tuple(parent.id for parent in order.parents),
                        order.parameters,
                        order.seed,
                    ),
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
                    depends_on=parents_of(order.parents),
                    requires=frozenset({f"builtin:{order.builtin}"}),
                    subject=None if version is None else ObjectRef(DATASET_VERSION, version.id, version.full_name),
                    options=order.options,
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


async def _predicting(tx: Transaction, project: Project, prediction_set_id: str, *, format: str) -> str:  # noqa: A002
    """Returns the name of the model behind a prediction set of the project, or refuses it."""
    if not format.startswith("voc"):
        message = f"{format} has no place for predictions; export as voc"
        raise InvalidError("SETTING_INVALID", message, field="prediction_set_id")
    found = await tx.prediction_sets.get(prediction_set_id)
    if found.project_id != project.id:
        raise NotFoundError("PREDICTION_SET_NOT_FOUND", f"there is no prediction set {prediction_set_id}")
    return found.model_name


@dataclass(frozen=True, slots=True)
class _Order:
    """A task to be made together with the version that it fills; no version without ``to``."""

    options: TaskOptions
    kind: str
    builtin: str
    title: str
    to: str
    wish: Wish
    parameters: Mapping[str, Any]
    spec: Mapping[str, Any]
    seed: int | None = None
    parents: tuple[DatasetVersion, ...] = ()


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
