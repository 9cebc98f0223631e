"""What people do with quotas: look at them, and, as administrators, set them."""

from dataclasses import dataclass
from typing import NamedTuple

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.task.quota import Quota, QuotaScope, Use
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction


class Whose(NamedTuple):
    """A project or a user, by name or id; the other is empty."""

    project: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class QuotaView:
    """A quota with what is used of it."""

    quota: Quota
    use: Use
    queued: int
    blob_bytes: int


class QuotaService:
    """Shows and sets quotas."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, principal: Principal, whose: Whose) -> QuotaView:
        """Returns the quota of a project that the caller may see, or of the caller; administrators see all."""
        async with self._store.snapshot() as tx:
            scope, found_id = await self._find(tx, principal, whose)
            if scope is QuotaScope.USER and found_id != principal.user_id:
                require_administrator(principal)
            return await _view(tx, scope, found_id)

    async def put(self, principal: Principal, whose: Whose, quota: Quota) -> QuotaView:
        """Sets a quota, whole; of the given one, scope and id do not count."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            scope, found_id = await self._find(tx, principal, whose)
            stored = Quota(
                scope,
                found_id,
                weight=quota.weight,
                running_tasks=quota.running_tasks,
                gpus=quota.gpus,
                queued_tasks=quota.queued_tasks,
                blob_bytes=quota.blob_bytes,
            )
            await tx.quotas.put(stored)
            detail = {
                "weight": stored.weight,
                "running_tasks": stored.running_tasks,
                "gpus": stored.gpus,
                "queued_tasks": stored.queued_tasks,
                "blob_bytes": stored.blob_bytes,
            }
            project_id = found_id if scope is QuotaScope.PROJECT else ""
            await tx.audit.add("quota.set", found_id, actor=principal.actor, project_id=project_id, detail=detail)
            return await _view(tx, scope, found_id)

    async def _find(self, tx: Transaction, principal: Principal, whose: Whose) -> tuple[QuotaScope, str]:
        if bool(whose.project) == bool(whose.user):
            raise InvalidError("QUOTA_INVALID", "name either a project or a user", field="project")
        if whose.project:
            return QuotaScope.PROJECT, (await enter(tx, principal, whose.project, ProjectRole.VIEWER)).id
        return QuotaScope.USER, (await tx.users.find(whose.user)).id


async def _view(tx: Transaction, scope: QuotaScope, found_id: str) -> QuotaView:
    quotas = await tx.quotas.all()
    project = scope is QuotaScope.PROJECT
    use = Use()
    for (project_id, user_id), one in (await tx.tasks.uses()).items():
        if found_id == (project_id if project else user_id):
            use = use.and_also(one)
    return QuotaView(
        quotas.of_project(found_id) if project else quotas.of_user(found_id),
        use,
        await tx.tasks.waiting_count(**({"project_id": found_id} if project else {"user_id": found_id})),
        await tx.blobs.scope_bytes(project_scope(found_id)) if project else 0,
    )
