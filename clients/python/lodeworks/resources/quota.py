"""Quotas: how much of an installation a project or a person may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lodeworks.api.quota.v1 import quota_pb2 as pb
from lodeworks.api.quota.v1.quota_pb2_grpc import QuotaServiceStub

if TYPE_CHECKING:
    from lodeworks.connection import AsyncConnection


@dataclass(frozen=True, slots=True)
class QuotaView:
    """A quota and what is used of it."""

    quota: pb.Quota
    use: pb.Use


class AsyncQuotas:
    """The quotas of projects and people.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, *, project: str = "", user: str = "") -> QuotaView:
        """Returns the quota of a project or a user, by name or id; name one of them. Raises NotFoundError."""
        request = pb.GetQuotaRequest(project=project, user=user)
        response: pb.GetQuotaResponse = await self._connection.call(QuotaServiceStub, "GetQuota", request)
        return QuotaView(response.quota, response.use)

    async def set(
        self,
        *,
        project: str = "",
        user: str = "",
        weight: float = 1.0,
        running_tasks: int | None = None,
        gpus: int | None = None,
        queued_tasks: int | None = None,
        blob_bytes: int | None = None,
    ) -> QuotaView:
        """Sets a quota, whole; for administrators.

        Args:
            project: Whose, by name or id; empty when a user is meant.
            user: Whose, by name or id; empty when a project is meant.
            weight: Of a project: its share beside the others'.
            running_tasks: Tasks that hold a worker at the same time; None = as many as there is room for.
            gpus: GPUs held at the same time; None = all.
            queued_tasks: Tasks that wait at the same time; None = any number.
            blob_bytes: Content that a project refers to; None = as much as there is room for.
        """
        quota = pb.Quota(
            weight=weight, running_tasks=running_tasks, gpus=gpus, queued_tasks=queued_tasks, blob_bytes=blob_bytes
        )
        request = pb.SetQuotaRequest(project=project, user=user, quota=quota)
        response: pb.SetQuotaResponse = await self._connection.call(QuotaServiceStub, "SetQuota", request)
        return QuotaView(response.quota, response.use)
