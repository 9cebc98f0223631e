"""Who sees a dataset: hidden ones are left out of lists, public ones may be copied by everybody of the installation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.service.dataset import DatasetSight, dataset_sights, find_dataset
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store


@dataclass(frozen=True, slots=True)
class PublicSight:
    """A public dataset and the name of its project."""

    dataset: DatasetSight
    project_name: str


class DatasetSharing:
    """Hides and shows datasets, and lists what is public."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def hide(
        self, principal: Principal, project: str, dataset: str, *, hidden: bool, request_id: str = ""
    ) -> DatasetSight:
        """Leaves a dataset out of lists, or shows it again; its versions stay in use."""
        action = "dataset.hide" if hidden else "dataset.restore"
        changes = {"hidden": hidden}
        return await self._change(
            principal, project, dataset, changes, action=action, role=ProjectRole.EDITOR, request_id=request_id
        )

    async def publish(
        self, principal: Principal, project: str, dataset: str, *, public: bool, request_id: str = ""
    ) -> DatasetSight:
        """Lets everybody copy a dataset, or its project's members alone; copies that were made stay."""
        action = "dataset.share" if public else "dataset.unshare"
        changes = {"public": public}
        return await self._change(
            principal, project, dataset, changes, action=action, role=ProjectRole.OWNER, request_id=request_id
        )

    async def public(self, *, after_id: str = "", limit: int = 100) -> Sequence[PublicSight]:
        """Returns the public datasets of all projects, the oldest first."""
        async with self._store.snapshot() as tx:
            found = await tx.datasets.public(after_id=after_id, limit=limit)
            sights = []
            for dataset in found:
                project = await tx.projects.get(dataset.project_id)
                (sight,) = await dataset_sights(tx, [dataset], await class_table(tx, project.id))
                sights.append(PublicSight(sight, project.name))
            return sights

    async def _change(
        self,
        principal: Principal,
        project: str,
        dataset: str,
        changes: Mapping[str, Any],
        *,
        action: str,
        role: ProjectRole,
        request_id: str,
    ) -> DatasetSight:
        once = Once(principal.actor, action, request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, role)
            made = await once.result(tx)
            if made is None:
                mine = await find_dataset(tx, found.id, dataset)
                await tx.datasets.put(replace(mine, **changes))
                await tx.audit.add(
                    action, mine.id, actor=principal.actor, project_id=found.id, detail={"name": mine.name}
                )
                await once.keep(tx, mine.id)
                made = mine.id
            current = await tx.datasets.get(made)
            return (await dataset_sights(tx, [current], await class_table(tx, found.id)))[0]
