"""Quotas of projects and people."""

from typing import Any, Final

import grpc.aio
from lodeworks.api.quota.v1 import quota_pb2, quota_pb2_grpc

from lodeworks_controller.domain.task.quota import Quota, QuotaScope
from lodeworks_controller.service.quota_service import QuotaService, QuotaView, Whose
from lodeworks_controller.transport.gate import Gate

Context = grpc.aio.ServicerContext[Any, Any]

_BOUNDS: Final = ("running_tasks", "gpus", "queued_tasks", "blob_bytes")


class QuotaServicer(quota_pb2_grpc.QuotaServiceServicer):
    """Serves ``lodeworks.api.quota.v1.QuotaService``."""

    def __init__(self, quotas: QuotaService, *, gate: Gate) -> None:
        self._quotas = quotas
        self._gate = gate

    async def GetQuota(self, request: quota_pb2.GetQuotaRequest, context: Context) -> quota_pb2.GetQuotaResponse:
        """Shows a quota and what is used of it."""
        view = await self._quotas.get(await self._gate.caller(context), Whose(request.project, request.user))
        return quota_pb2.GetQuotaResponse(quota=_quota(view), use=_use(view))

    async def SetQuota(self, request: quota_pb2.SetQuotaRequest, context: Context) -> quota_pb2.SetQuotaResponse:
        """Sets a quota."""
        caller = await self._gate.caller(context)
        told = request.quota
        bounds = {name: getattr(told, name) if told.HasField(name) else None for name in _BOUNDS}
        quota = Quota(QuotaScope.PROJECT, "", weight=told.weight or 1.0, **bounds)
        view = await self._quotas.put(caller, Whose(request.project, request.user), quota)
        return quota_pb2.SetQuotaResponse(quota=_quota(view), use=_use(view))


def _quota(view: QuotaView) -> quota_pb2.Quota:
    quota = view.quota
    return quota_pb2.Quota(
        weight=quota.weight,
        running_tasks=quota.running_tasks,
        gpus=quota.gpus,
        queued_tasks=quota.queued_tasks,
        blob_bytes=quota.blob_bytes,
    )


def _use(view: QuotaView) -> quota_pb2.Use:
    return quota_pb2.Use(
        running_tasks=view.use.runs, gpus=view.use.gpus, queued_tasks=view.queued, blob_bytes=view.blob_bytes
    )
