"""Datasets as one transaction sees them: names, versions, and how they look to people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.dataset import Dataset, DatasetVersion
from lodeworks_controller.domain.expression import class_names
from lodeworks_controller.domain.operation import Filter
from lodeworks_controller.domain.reference import parse_reference
from lodeworks_controller.domain.report import StoredReport
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.object_class import ClassTable
from lodeworks_controller.service.segments import Rids
from lodeworks_controller.service.store import Transaction


class DatasetRows(Protocol):
    """Datasets and versions as one transaction sees them. No method commits."""

    async def find(self, project_id: str, name_or_id: str) -> Dataset | None:
        """Returns a dataset of the project that is not deleted."""
        ...

    async def get(self, dataset_id: str) -> Dataset:
        """Returns a dataset, or raises NotFoundError DATASET_NOT_FOUND."""
        ...

    async def list(
        self, project_id: str, *, after_name: str = "", limit: int = 100, include_hidden: bool = False
    ) -> Sequence[Dataset]:
        """Returns the datasets of a project by name."""
        ...

    async def public(self, *, after_id: str = "", limit: int = 100) -> Sequence[Dataset]:
        """Returns the public datasets of all projects that are not archived, by id."""
        ...

    async def unreleased(self, *, before: datetime, limit: int = 100) -> Sequence[DatasetVersion]:
        """Returns versions that were deleted before a moment and whose objects are still referred to."""
        ...

    async def released_at(self, project_id: str) -> datetime | None:
        """Returns when a project last let go of what deleted versions had."""
        ...

    async def living(self, project_id: str) -> Sequence[DatasetVersion]:
        """Returns all versions of a project that are READY or in the making and not deleted."""
        ...

    async def add(self, dataset: Dataset) -> None:
        """Stores a new dataset, or raises ExistsError DATASET_EXISTS."""
        ...

    async def put(self, dataset: Dataset) -> None:
        """Stores a dataset that changed, or raises ExistsError DATASET_EXISTS."""
        ...

    async def version(self, version_id: str) -> DatasetVersion:
        """Returns a version, or raises NotFoundError VERSION_NOT_FOUND."""
        ...

    async def numbered(self, dataset_id: str, number: int) -> DatasetVersion | None:
        """Returns the version with that number."""
        ...

    async def newest_ready(self, dataset_ids: Sequence[str]) -> dict[str, DatasetVersion]:
        """Returns dataset id → its newest READY version that is not deleted, for those that have one."""
        ...

    async def count_versions(self, dataset_ids: Sequence[str]) -> Mapping[str, int]:
        """Returns dataset id → how many versions it has that are not deleted."""
        ...

    async def versions(
        self, dataset_id: str, *, before_number: int | None = None, limit: int = 100
    ) -> Sequence[DatasetVersion]:
        """Returns versions that are not deleted, newest first."""
        ...

    async def by_ids(self, version_ids: Iterable[str]) -> dict[str, DatasetVersion]:
        """Returns id → version for those that are known, deleted ones too."""
        ...

    async def add_version(self, version: DatasetVersion) -> None:
        """Stores a new version."""
        ...

    async def put_version(self, version: DatasetVersion) -> None:
        """Stores a version that changed state or was deleted; READY ones keep their content."""
        ...

    async def put_report(self, report: StoredReport) -> None:
        """Stores where the report of an import lies, in place of an earlier one of the same task."""
        ...

    async def report(self, *, task_id: str = "", version_id: str = "") -> StoredReport | None:
        """Returns where the report of a task or version lies."""
        ...


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class in a version; ``negative_pictures`` are annotated without one."""

    class_name: str
    boxes: int
    pictures: int
    negative_pictures: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of a version under the class map of now."""

    pictures: int
    annotated: int
    empty: int
    boxes: int
    ignored_boxes: int
    size_bytes: int
    classes: tuple[ClassFigures, ...]


@dataclass(frozen=True, slots=True)
class VersionSight:
    """A version with the names that its ids stand for, and how many of its boxes the class map shows."""

    version: DatasetVersion
    boxes: int = 0
    parent_names: tuple[str, ...] = ()
    figures: Figures | None = None


@dataclass(frozen=True, slots=True)
class DatasetSight:
    """A dataset with its newest READY version."""

    dataset: Dataset
    latest: VersionSight | None
    version_count: int = 0


async def find_version(tx: Transaction, project_id: str, text: str) -> DatasetVersion:
    """Returns what ``name``, ``name@3`` or an id means in a project, whatever its state.

    Raises NotFoundError VERSION_NOT_FOUND.
    """
    known = (await tx.datasets.by_ids([text])).get(text)
    if known is not None and known.project_id == project_id and known.deleted_at is None:
        return known
    wanted = parse_reference(text, field="dataset")
    dataset = await tx.datasets.find(project_id, wanted.name)
    if dataset is None:
        message = f"there is no dataset {wanted.name!r} in this project; see `lode dataset ls`"
        raise NotFoundError("VERSION_NOT_FOUND", message, name=text)
    if wanted.number is None:
        return await _newest(tx, dataset)
    found = await tx.datasets.numbered(dataset.id, wanted.number)
    if found is None or found.deleted_at is not None:
        message = f"{dataset.name} has no version {wanted.number}; see `lode dataset history {dataset.name}`"
        raise NotFoundError("VERSION_NOT_FOUND", message, name=text)
    return found


async def _newest(tx: Transaction, dataset: Dataset) -> DatasetVersion:
    ready = (await tx.datasets.newest_ready([dataset.id])).get(dataset.id)
    if ready is not None:
        return ready
    # None is ready: the newest one says why.
    latest = await tx.datasets.versions(dataset.id, limit=1)
    if not latest:
        raise NotFoundError("VERSION_NOT_FOUND", f"{dataset.name} has no version", name=dataset.name)
    return latest[0]


async def find_dataset(tx: Transaction, project_id: str, text: str) -> Dataset:
    """Returns the dataset of a name or id, or raises NotFoundError DATASET_NOT_FOUND."""
    found = await tx.datasets.find(project_id, text)
    if found is None:
        message = f"there is no dataset {text!r} in this project; see `lode dataset ls`"
        raise NotFoundError("DATASET_NOT_FOUND", message, name=text)
    return found


async def sight_of(tx: Transaction, version: DatasetVersion, table: ClassTable) -> VersionSight:
    """Returns a version as people see it."""
    parents = await tx.datasets.by_ids(version.making.parents)
    names = tuple(parents[id_].full_name for id_ in version.making.parents if id_ in parents)
    shown = table.names()
    raw = version.content.statistics.raw if version.content is not None else {}
    return VersionSight(version, sum(count.boxes for rid, count in raw.items() if rid in shown), names)


async def dataset_sights(tx: Transaction, datasets: Sequence[Dataset], table: ClassTable) -> Sequence[DatasetSight]:
    """Returns datasets as people see them."""
    ids = [dataset.id for dataset in datasets]
    latest = await tx.datasets.newest_ready(ids)
    counts = await tx.datasets.count_versions(ids)
    shown = {id_: await sight_of(tx, version, table) for id_, version in latest.items()}
    return [DatasetSight(dataset, shown.get(dataset.id), counts.get(dataset.id, 0)) for dataset in datasets]


def rids_for(which: Filter, table: ClassTable) -> Rids:
    """Returns the raw classes that the names in a filter mean; raises NotFoundError CLASS_NOT_FOUND."""
    named: dict[str, tuple[int, ...]] = {name: table.rids(name) for name in class_names(which.condition())}
    return {**named, "": tuple(sorted(table.names()))}
