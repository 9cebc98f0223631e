"""Versions in the making: numbered, filled, made visible; always inside somebody's unit of work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.dataset import Content, Dataset, DatasetVersion, Making, Operation, VersionState
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.lineage import DATASET_VERSION, Edge, Node
from lodeworks_controller.domain.manifest import Derived, digests_of
from lodeworks_controller.domain.project import Project
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.store import Transaction


@dataclass(frozen=True, slots=True)
class Filled:
    """What a version is filled with: its manifest, stored under ``digest``, and its figures."""

    manifest: VersionManifest
    digest: str
    derived: Derived
    report_digest: str | None = None


def manifest_of(
    derived: Derived,
    *,
    object_type: str,
    operation: Operation,
    parents: Sequence[DatasetVersion] = (),
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    class_revision: int = 0,
) -> VersionManifest:
    """Returns the manifest of what an operation made; equal operations on equal versions give equal manifests."""
    return VersionManifest(
        object_type=object_type,
        segments=derived.segments,
        operation=operation.value,
        parameters=dict(parameters or {}),
        parents=tuple(parent.require_content().manifest_digest for parent in parents),
        seed=seed,
        class_map_revision=class_revision,
        statistics=derived.statistics.totals(),
    )


async def open_version(
    tx: Transaction,
    project: Project,
    *,
    to: str,
    making: Making,
    created_by: str,
    class_revision: int,
    ids: Ids,
) -> DatasetVersion:
    """Returns a new version in state CREATING of the dataset with that name, which is made when it is not there."""
    name = check_name(to, field="to")
    dataset = await tx.datasets.find(project.id, name)
    if dataset is None:
        dataset = Dataset(ids(), project.id, name, tx.now(), last_number=1)
        await tx.datasets.add(dataset)
    else:
        dataset = replace(dataset, last_number=dataset.last_number + 1)
        await tx.datasets.put(dataset)
    version = DatasetVersion(
        id=ids(),
        dataset_id=dataset.id,
        project_id=project.id,
        name=dataset.name,
        number=dataset.last_number,
        state=VersionState.CREATING,
        object_type=project.object_type,
        making=making,
        class_revision=class_revision,
        created_by=created_by,
        created_at=tx.now(),
    )
    await tx.datasets.add_version(version)
    return version


async def refer_to(tx: Transaction, project_id: str, several: Sequence[Filled]) -> None:
    """Lets a project refer to all that its versions consist of."""
    objects: dict[str, None] = {}
    for filled in several:
        report = () if filled.report_digest is None else (filled.report_digest,)
        objects |= dict.fromkeys((filled.digest, *digests_of(filled.manifest), *report))
    await tx.blobs.reference(project_scope(project_id), list(objects))


async def fill_version(
    tx: Transaction, version: DatasetVersion, filled: Filled, *, class_revision: int, referred: bool = False
) -> DatasetVersion:
    """Makes a version READY; from then on its project refers to all that it consists of.

    Whoever fills several in one unit of work may refer to the objects of all of them before: ``referred``.
    """
    content = Content(filled.digest, filled.derived.statistics, filled.report_digest)
    ready = version.ready(content, class_revision=class_revision, at=tx.now())
    await tx.datasets.put_version(ready)
    if not referred:
        await refer_to(tx, version.project_id, [filled])
    node = Node(DATASET_VERSION, version.id)
    await tx.lineage.add(
        Edge(Node(DATASET_VERSION, parent), node, f"{version.making.operation.value}:{place}")
        for place, parent in enumerate(version.making.parents)
    )
    return ready
