"""What content takes room, for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.project import Project
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.collection import Collected, Collection, Usage
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

_MOST_PROJECTS = 10_000


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """What each project refers to; of the whole store only for administrators."""

    projects: Sequence[tuple[Project, Usage]]
    stored: Usage | None
    unreferenced: Usage | None


class StorageService:
    """Answers how much is used, and collects on demand."""

    def __init__(self, store: Store, collection: Collection) -> None:
        self._store = store
        self._collection = collection

    async def usage(self, principal: Principal, project: str = "") -> StorageUsage:
        """Returns what a project, or every project of the caller, refers to.

        Raises NotFoundError PROJECT_NOT_FOUND, also for who is no member.
        """
        async with self._store.snapshot() as tx:
            projects = await _projects(tx, principal, project)
            used = await tx.collection.usage([one.id for one in projects])
            stored, unreferenced = await tx.collection.stored() if principal.is_administrator else (None, None)
        return StorageUsage([(one, used.get(one.id, Usage())) for one in projects], stored, unreferenced)

    async def collect(self, principal: Principal, *, dry_run: bool) -> Collected:
        """Makes a pass, or returns what it would remove; raises PermissionDeniedError ROLE_TOO_LOW."""
        require_administrator(principal)
        if dry_run:
            return await self._collection.look()
        collected = await self._collection.run()
        async with self._store.transaction() as tx:
            detail = {"blobs": collected.blobs, "size_bytes": collected.size_bytes}
            await tx.audit.add("storage.collect", "blobs", actor=principal.actor, detail=detail)
        return collected


async def _projects(tx: Transaction, principal: Principal, project: str) -> Sequence[Project]:
    if project:
        return [await enter(tx, principal, project, ProjectRole.VIEWER)]
    user_id = None if principal.is_administrator else principal.user_id
    return await tx.projects.list(user_id=user_id, after_name="", limit=_MOST_PROJECTS)
