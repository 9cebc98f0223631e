"""Quotas as one transaction sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from lodeworks_controller.domain.task.quota import Quota, Quotas, QuotaScope
from lodeworks_controller.service.content_scope import project_scope

if TYPE_CHECKING:
    from lodeworks_controller.domain.task.task import NewTask
    from lodeworks_controller.service.store import Transaction

_REMEMBERED: Final = timedelta(seconds=1)


class QuotaRows(Protocol):
    """The quotas as one transaction sees them. No method commits."""

    async def all(self) -> Quotas:
        """Returns every quota that is set."""
        ...

    async def put(self, quota: Quota) -> None:
        """Stores a quota in place of an earlier one."""
        ...


async def check_quota(tx: Transaction, quotas: Quotas, wish: NewTask) -> None:
    """Refuses a wish that the quota of its project, or of its maker, has no room for."""
    for quota in (quotas.of_project(wish.project_id), quotas.of_user(wish.created_by)):
        if quota.queued_tasks is None and quota.gpus is None and quota.blob_bytes is None:
            continue
        if quota.scope is QuotaScope.PROJECT:
            name = (await tx.projects.get(quota.id)).name
            queued = await tx.tasks.waiting_count(project_id=quota.id)
        else:
            name = (await tx.users.get(quota.id)).name
            queued = await tx.tasks.waiting_count(user_id=quota.id)
        quota.check_wish(name, queued=queued, gpus=wish.resources.gpus)
        if quota.blob_bytes is not None:
            used = await tx.blobs.scope_bytes(project_scope(quota.id))
            quota.check_blobs(name, used_bytes=used, more_bytes=0)


async def check_blob_quota(tx: Transaction, project_id: str, more_bytes: int) -> None:
    """Refuses content that the quota of a project has no room for: ExhaustedError QUOTA_BLOB_BYTES."""
    quota = (await tx.quotas.all()).of_project(project_id)
    if quota.blob_bytes is not None:
        used = await tx.blobs.scope_bytes(project_scope(project_id))
        quota.check_blobs((await tx.projects.get(project_id)).name, used_bytes=used, more_bytes=more_bytes)


class RememberedQuotas:
    """The quotas of a moment ago: whoever asks at each poll need not read them each time."""

    def __init__(self) -> None:
        self._quotas = Quotas()
        self._read_at: datetime | None = None

    async def at(self, tx: Transaction) -> Quotas:
        """Returns the quotas, at most a second old."""
        now = tx.now()
        if self._read_at is None or not timedelta() <= now - self._read_at < _REMEMBERED:
            self._quotas, self._read_at = await tx.quotas.all(), now
        return self._quotas
