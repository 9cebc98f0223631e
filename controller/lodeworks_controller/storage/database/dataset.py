"""Datasets, their versions and reports in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Select,
    String,
    Table,
    Text,
    bindparam,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from lodeworks_controller.domain.dataset import Content, Dataset, DatasetVersion, Making, Operation, VersionState
from lodeworks_controller.domain.manifest import Statistics
from lodeworks_controller.domain.project import ObjectType, ProjectState
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.domain.report import StoredReport
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.project import projects
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, JsonText, metadata

datasets = Table(
    "datasets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("name_key", String(200), nullable=False),  # folded name; the id once deleted, to free the name
    Column("last_number", Integer, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("public", Boolean, nullable=False, server_default=false(), index=True),
    Column("created_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Index(None, "project_id", "name_key", unique=True),
)

versions = Table(
    "dataset_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("dataset_id", ForeignKey("datasets.id"), nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("object_type", String(40), nullable=False),
    Column("operation", String(40), nullable=False),
    Column("parents", JsonText, nullable=False),
    Column("parameters", JsonText, nullable=False),
    Column("seed", String(20)),  # up to 2^63-1, text keeps it whole on its way through JSON tools
    Column("class_revision", Integer, nullable=False),
    Column("manifest_digest", Digest),
    Column("statistics", JsonText),
    Column("report_digest", Digest),
    Column("task_id", Id, index=True),
    Column("failure", Text),
    Column("created_by", String(80), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ready_at", Instant),
    Column("deleted_at", Instant, index=True),
    Column("released_at", Instant),  # when its project stopped referring to what only it had
    Index(None, "dataset_id", "number", unique=True),
)

reports = Table(
    "import_reports",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("version_id", Id, index=True),
    Column("digest", Digest, nullable=False),
    Column("created_at", Instant, nullable=False),
)

_JOINED = select(versions, datasets.c.name).join(datasets, datasets.c.id == versions.c.dataset_id)

# What every operation on datasets asks and writes is compiled once.
_FIND = prepared(
    select(datasets).where(
        datasets.c.project_id == bindparam("project_id"),
        datasets.c.deleted_at.is_(None),
        (datasets.c.name_key == bindparam("name_key")) | (datasets.c.id == bindparam("dataset_id")),
    )
)
_GET = prepared(select(datasets).where(datasets.c.id == bindparam("dataset_id")))
_TAKEN = prepared(
    select(datasets.c.id).where(
        datasets.c.project_id == bindparam("project_id"),
        datasets.c.name_key == bindparam("name_key"),
        datasets.c.id != bindparam("dataset_id"),
    )
)
_INSERT = prepared(insert(datasets))
_PUT = prepared(
    update(datasets)
    .where(datasets.c.id == bindparam("old_id"))
    .values({column.name: bindparam(column.name) for column in datasets.c if not column.primary_key})
)
_VERSION = prepared(_JOINED.where(versions.c.id == bindparam("version_id")))
_NEWEST_READY = prepared(
    _JOINED.where(
        versions.c.dataset_id == bindparam("dataset_id"),
        versions.c.state == VersionState.READY.value,
        versions.c.deleted_at.is_(None),
    )
    .order_by(versions.c.number.desc())
    .limit(1)
)
_INSERT_VERSION = prepared(insert(versions))
_PUT_VERSION = prepared(
    update(versions)
    .where(versions.c.id == bindparam("old_id"))
    .values({column.name: bindparam(column.name) for column in versions.c if not column.primary_key})
)


class SqlDatasetRows:
    """Datasets and versions on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, project_id: str, name_or_id: str) -> Dataset | None:
        """Returns a dataset of the project that is not deleted."""
        asked = {"project_id": project_id, "name_key": fold(name_or_id), "dataset_id": name_or_id}
        row = (await self._connection.execute(_FIND, asked)).mappings().first()
        return None if row is None else _to_dataset(row)

    async def get(self, dataset_id: str) -> Dataset:
        """Returns a dataset, or raises NotFoundError DATASET_NOT_FOUND."""
        row = (await self._connection.execute(_GET, {"dataset_id": dataset_id})).mappings().first()
        if row is None:
            raise NotFoundError("DATASET_NOT_FOUND", f"there is no dataset {dataset_id}; see `lode dataset ls`")
        return _to_dataset(row)

    async def list(
        self, project_id: str, *, after_name: str = "", limit: int = 100, include_hidden: bool = False
    ) -> Sequence[Dataset]:
        """Returns the datasets of a project by name."""
        query = (
            select(datasets)
            .where(
                datasets.c.project_id == project_id,
                datasets.c.deleted_at.is_(None),
                datasets.c.name_key > fold(after_name),
            )
            .order_by(datasets.c.name_key)
            .limit(limit)
        )
        if not include_hidden:
            # A name that nothing but failures came to is in nobody's way; its history still says why.
            came = select(versions.c.id).where(
                versions.c.dataset_id == datasets.c.id, versions.c.state != VersionState.FAILED.value
            )
            query = query.where(datasets.c.hidden.is_(False), or_(datasets.c.last_number == 0, came.exists()))
        return [_to_dataset(row) for row in (await self._connection.execute(query)).mappings()]

    async def public(self, *, after_id: str = "", limit: int = 100) -> Sequence[Dataset]:
        """Returns the public datasets of all projects that are not archived, by id."""
        query = (
            select(datasets)
            .join(projects, projects.c.id == datasets.c.project_id)
            .where(
                datasets.c.public.is_(True),
                datasets.c.deleted_at.is_(None),
                projects.c.state == ProjectState.ACTIVE.value,
                datasets.c.id > after_id,
            )
            .order_by(datasets.c.id)
            .limit(limit)
        )
        return [_to_dataset(row) for row in (await self._connection.execute(query)).mappings()]

    async def add(self, dataset: Dataset) -> None:
        """Stores a new dataset, or raises ExistsError DATASET_EXISTS."""
        await self._refuse_taken(dataset)
        await self._connection.execute(_INSERT, _dataset_values(dataset))

    async def put(self, dataset: Dataset) -> None:
        """Stores a dataset that changed, or raises ExistsError DATASET_EXISTS."""
        await self._refuse_taken(dataset)
        await self._connection.execute(_PUT, _changed(_dataset_values(dataset)))

    async def _refuse_taken(self, dataset: Dataset) -> None:
        values = _dataset_values(dataset)
        asked = {"project_id": dataset.project_id, "name_key": values["name_key"], "dataset_id": dataset.id}
        if (await self._connection.execute(_TAKEN, asked)).first() is not None:
            message = f"the project has a dataset {dataset.name!r} already; choose another name"
            raise ExistsError("DATASET_EXISTS", message, name=dataset.name)

    async def version(self, version_id: str) -> DatasetVersion:
        """Returns a version, or raises NotFoundError VERSION_NOT_FOUND."""
        found = await self._versions(_VERSION, {"version_id": version_id})
        if not found:
            raise NotFoundError("VERSION_NOT_FOUND", f"there is no dataset version {version_id}; see `lode dataset ls`")
        return found[0]

    async def numbered(self, dataset_id: str, number: int) -> DatasetVersion | None:
        """Returns the version with that number."""
        found = await self._versions(_JOINED.where(versions.c.dataset_id == dataset_id, versions.c.number == number))
        return found[0] if found else None

    async def newest_ready(self, dataset_ids: Sequence[str]) -> dict[str, DatasetVersion]:
        """Returns dataset id → its newest READY version that is not deleted, for those that have one."""
        found: dict[str, DatasetVersion] = {}
        for dataset_id in dataset_ids:
            newest = await self._versions(_NEWEST_READY, {"dataset_id": dataset_id})
            found.update((dataset_id, version) for version in newest)
        return found

    async def count_versions(self, dataset_ids: Sequence[str]) -> dict[str, int]:
        """Returns dataset id → how many versions it has that are not deleted."""
        query = (
            select(versions.c.dataset_id, func.count().label("versions"))
            .where(versions.c.dataset_id.in_(dataset_ids), versions.c.deleted_at.is_(None))
            .group_by(versions.c.dataset_id)
        )
        rows = (await self._connection.execute(query)).mappings()
        return {row["dataset_id"]: row["versions"] for row in rows}

    async def versions(
        self, dataset_id: str, *, before_number: int | None = None, limit: int = 100
    ) -> Sequence[DatasetVersion]:
        """Returns versions that are not deleted, newest first."""
        query = _JOINED.where(versions.c.dataset_id == dataset_id, versions.c.deleted_at.is_(None))
        if before_number is not None:
            query = query.where(versions.c.number < before_number)
        return await self._versions(query.order_by(versions.c.number.desc()).limit(limit))

    async def unreleased(self, *, before: datetime, limit: int = 100) -> Sequence[DatasetVersion]:
        """Returns versions that were deleted before a moment and whose objects are still referred to."""
        gone = _JOINED.where(versions.c.deleted_at < before, versions.c.released_at.is_(None))
        return await self._versions(gone.order_by(versions.c.deleted_at).limit(limit))

    async def released_at(self, project_id: str) -> datetime | None:
        """Returns when a project last let go of what deleted versions had."""
        query = select(func.max(versions.c.released_at, type_=Instant)).where(versions.c.project_id == project_id)
        found: datetime | None = (await self._connection.execute(query)).scalar()
        return found

    async def living(self, project_id: str) -> Sequence[DatasetVersion]:
        """Returns all versions of a project that are READY or in the making and not deleted."""
        states = (VersionState.READY.value, VersionState.CREATING.value)
        mine = _JOINED.where(versions.c.project_id == project_id, versions.c.deleted_at.is_(None))
        return await self._versions(mine.where(versions.c.state.in_(states)))

    async def by_ids(self, version_ids: Iterable[str]) -> dict[str, DatasetVersion]:
        """Returns id → version for those that are known, deleted ones too."""
        wanted = sorted(set(version_ids))
        if len(wanted) == 1:
            found = await self._versions(_VERSION, {"version_id": wanted[0]})
        else:
            found = await self._versions(_JOINED.where(versions.c.id.in_(wanted))) if wanted else ()
        return {version.id: version for version in found}

    async def add_version(self, version: DatasetVersion) -> None:
        """Stores a new version."""
        await self._connection.execute(_INSERT_VERSION, _version_values(version))

    async def put_version(self, version: DatasetVersion) -> None:
        """Stores a version that changed state or was deleted; READY ones keep their content."""
        await self._connection.execute(_PUT_VERSION, _changed(_version_values(version)))

    async def put_report(self, report: StoredReport) -> None:
        """Stores where the report of an import lies, in place of an earlier one of the same task."""
        values = {
            "task_id": report.task_id,
            "project_id": report.project_id,
            "version_id": report.version_id,
            "digest": report.digest,
            "created_at": report.created_at,
        }
        kept = await self._connection.execute(update(reports).where(reports.c.task_id == report.task_id).values(values))
        if not kept.rowcount:
            await self._connection.execute(insert(reports), values)

    async def report(self, *, task_id: str = "", version_id: str = "") -> StoredReport | None:
        """Returns where the report of a task or version lies."""
        mine = reports.c.task_id == task_id if task_id else reports.c.version_id == version_id
        query = select(reports).where(mine).order_by(reports.c.created_at.desc()).limit(1)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else StoredReport(**row)

    async def _versions(self, query: Select[Any], asked: Mapping[str, Any] | None = None) -> Sequence[DatasetVersion]:
        return [_to_version(row) for row in (await self._connection.execute(query, asked)).mappings()]


def _changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a row that is there as its update takes them."""
    return {("old_id" if name == "id" else name): value for name, value in values.items()}


def _dataset_values(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "project_id": dataset.project_id,
        "name": dataset.name,
        "name_key": fold(dataset.name) if dataset.deleted_at is None else dataset.id,
        "last_number": dataset.last_number,
        "hidden": dataset.hidden,
        "public": dataset.public,
        "created_at": dataset.created_at,
        "deleted_at": dataset.deleted_at,
    }


def _to_dataset(row: Any) -> Dataset:
    return Dataset(**{name: row[name] for name in row if name != "name_key"})


def _version_values(version: DatasetVersion) -> dict[str, Any]:
    content = version.content
    return {
        "id": version.id,
        "dataset_id": version.dataset_id,
        "project_id": version.project_id,
        "number": version.number,
        "state": version.state.value,
        "object_type": version.object_type.value,
        "operation": version.making.operation.value,
        "parents": list(version.making.parents),
        "parameters": dict(version.making.parameters),
        "seed": None if version.making.seed is None else str(version.making.seed),
        "class_revision": version.class_revision,
        "manifest_digest": None if content is None else content.manifest_digest,
        "statistics": None if content is None else content.statistics.to_json(),
        "report_digest": version.report_digest,
        "task_id": version.task_id,
        "failure": version.failure,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "ready_at": version.ready_at,
        "deleted_at": version.deleted_at,
        "released_at": version.released_at,
    }


def _to_version(row: Any) -> DatasetVersion:
    content = None
    if row["manifest_digest"] is not None:
        content = Content(row["manifest_digest"], Statistics.from_json(row["statistics"]), row["report_digest"])
    seed = None if row["seed"] is None else int(row["seed"])
    return DatasetVersion(
        id=row["id"],
        dataset_id=row["dataset_id"],
        project_id=row["project_id"],
        name=row["name"],
        number=row["number"],
        state=VersionState(row["state"]),
        object_type=ObjectType(row["object_type"]),
        making=Making(Operation(row["operation"]), tuple(row["parents"]), row["parameters"], seed),
        class_revision=row["class_revision"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        content=content,
        ready_at=row["ready_at"],
        task_id=row["task_id"],
        failure=row["failure"],
        report_digest=row["report_digest"],
        deleted_at=row["deleted_at"],
        released_at=row["released_at"],
    )
