"""Who may see which content, and what keeps it: a digest is no key, the scope of a caller is."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from lodeworks_controller.domain.identity import AgentIdentity, Principal, ProjectRole
from lodeworks_controller.domain.task.lease import check_held
from lodeworks_controller.domain.task.quota import Quota
from lodeworks_controller.errors import NotFoundError, PermissionDeniedError, StaleLeaseError
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store

UPLOAD_KEPT: Final = timedelta(days=7)
"""How long an upload of a person stays when nothing is made of it; asking for it again begins anew."""


class BlobRows(Protocol):
    """Which scopes refer to which blobs, as one transaction sees it.

    A scope is ``project:<id>``, ``task:<id>``, ``device:<id>`` or ``log:<task>``. A blob that no scope refers to is
    collected after a grace.
    """

    async def reference(self, scope: str, digests: Iterable[str], *, until: datetime | None = None) -> None:
        """Notes that a scope refers to the blobs, for good or until a moment; never shortens what holds already.

        Raises UnavailableError BLOB_LEAVING for one that is just being removed.
        """
        ...

    async def expiring(self, scope: str, digests: Iterable[str], *, before: datetime) -> set[str]:
        """Returns those that the scope refers to only until a moment before the given one."""
        ...

    async def record(self, sizes: Mapping[str, int]) -> None:
        """Notes how long stored blobs are."""
        ...

    async def marked(self, digests: Iterable[str]) -> set[str]:
        """Returns those that the collector has marked or is removing."""
        ...

    async def spare(self, digests: Iterable[str]) -> set[str]:
        """Takes the collector's mark from blobs, so that their grace begins anew; returns those being removed now."""
        ...

    async def referenced(self, scope: str, digests: Iterable[str]) -> set[str]:
        """Returns those of the digests that the scope refers to."""
        ...

    async def scope_bytes(self, scope: str) -> int:
        """Returns how much content a scope refers to."""
        ...

    async def release(self, scope: str, digests: Iterable[str] | None = None) -> None:
        """Drops references of a scope; all of them when no digests are given."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """What a project's quota leaves for more content."""

    name: str
    quota: Quota
    used_bytes: int

    def check(self, more_bytes: int) -> None:
        """Raises ExhaustedError QUOTA_BLOB_BYTES where there is none for so much."""
        self.quota.check_blobs(self.name, used_bytes=self.used_bytes, more_bytes=more_bytes)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one caller may touch: reads look in each of the scopes, writes belong to one (None = may not write)."""

    readable: tuple[str, ...]
    writable: str | None
    kept: timedelta | None = None
    """How long what is written stays when nothing is made of it; None = as long as the scope."""
    room: Room | None = None
    """None = as much as there is."""

    def owner(self) -> str:
        """Returns the scope that writes belong to, or raises PermissionDeniedError ROLE_TOO_LOW."""
        if self.writable is None:
            raise PermissionDeniedError(
                "ROLE_TOO_LOW", "this scope may be read only; ask an owner for the role of editor"
            )
        return self.writable

    def owner_of_more(self, more_bytes: int) -> str:
        """Returns the same when the quota leaves room for so much, or raises ExhaustedError QUOTA_BLOB_BYTES."""
        owner = self.owner()
        if self.room is not None:
            self.room.check(more_bytes)
        return owner


def project_scope(project_id: str) -> str:
    """Returns the scope of a project's content."""
    return f"project:{project_id}"


def task_scope(task_id: str) -> str:
    """Returns the scope of a task's inputs and outputs."""
    return f"task:{task_id}"


def device_scope(device_id: str) -> Scope:
    """Returns what a device may touch: it reads what its document names (``device:<id>``) and writes nothing."""
    return Scope(readable=(f"device:{device_id}",), writable=None)


class Scopes:
    """Finds what a caller may touch, and keeps note of what each scope refers to.

    Args:
        store: Units of work.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of_person(self, principal: Principal, project: str) -> Scope:
        """Returns what a person may touch in a project: viewers read, editors write.

        Raises NotFoundError PROJECT_NOT_FOUND, also for who is no member.
        """
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            role = await tx.projects.role(found.id, principal.user_id)
            quota = (await tx.quotas.all()).of_project(found.id)
            used = await tx.blobs.scope_bytes(project_scope(found.id)) if quota.blob_bytes is not None else 0
        writes = principal.is_administrator or (role is not None and role.covers(ProjectRole.EDITOR))
        own = project_scope(found.id)
        return Scope(
            readable=(own,), writable=own if writes else None, kept=UPLOAD_KEPT, room=Room(found.name, quota, used)
        )

    async def of_lease(self, worker: AgentIdentity, task_id: str, *, lease_epoch: int) -> Scope:
        """Returns what a worker may touch for a lease it holds: inputs and its project's content; writes its outputs.

        Raises StaleLeaseError.
        """
        async with self._store.snapshot() as tx:
            try:
                task = await tx.tasks.get(task_id)
            except NotFoundError as error:
                raise StaleLeaseError(task_id, lease_epoch=lease_epoch) from error
        check_held(task, worker_id=worker.id, lease_epoch=lease_epoch)
        own = task_scope(task_id)
        return Scope(readable=(own, project_scope(task.project_id)), writable=own)

    async def visible(self, scope: Scope, digests: Sequence[str]) -> set[str]:
        """Returns those of the digests that the caller may know to be there."""
        visible = set[str]()
        async with self._store.snapshot() as tx:
            for readable in scope.readable:
                visible |= await tx.blobs.referenced(readable, digests)
        return visible

    async def refer(self, scope: Scope, sizes: Mapping[str, int]) -> None:
        """Notes that the scope holds stored blobs (digest → length), and so may read them."""
        async with self._store.transaction() as tx:
            until = None if scope.kept is None else tx.now() + scope.kept
            await tx.blobs.record(sizes)
            await tx.blobs.reference(scope.owner(), sizes, until=until)

    async def renew(self, scope: Scope, digests: Collection[str]) -> None:
        """Lets what the caller was just told to be present stay as long as if it had been sent now."""
        if scope.kept is None or scope.writable is None or not digests:
            return
        async with self._store.snapshot() as tx:
            soon = await tx.blobs.expiring(scope.writable, digests, before=tx.now() + scope.kept / 2)
        if soon:
            async with self._store.transaction() as tx:
                await tx.blobs.reference(scope.writable, soon, until=tx.now() + scope.kept)
