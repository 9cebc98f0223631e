"""Quotas in SQL."""

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Integer, String, Table, delete, insert, select

from lodeworks_controller.domain.task.quota import Quota, Quotas, QuotaScope
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, metadata

quotas = Table(
    "quotas",
    metadata,
    Column("scope", String(10), primary_key=True),
    Column("id", Id, primary_key=True),
    Column("weight", Float, nullable=False),
    Column("running_tasks", Integer),
    Column("gpus", Integer),
    Column("queued_tasks", Integer),
    Column("blob_bytes", BigInteger),
)

_ALL = select(quotas)


class SqlQuotaRows:
    """The quotas on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self) -> Quotas:
        """Returns every quota that is set."""
        return Quotas.of(_to_quota(row) for row in (await self._connection.execute(_ALL)).mappings())

    async def put(self, quota: Quota) -> None:
        """Stores a quota in place of an earlier one."""
        mine = (quotas.c.scope == quota.scope.value, quotas.c.id == quota.id)
        await self._connection.execute(delete(quotas).where(*mine))
        values = {
            "scope": quota.scope.value,
            "id": quota.id,
            "weight": quota.weight,
            "running_tasks": quota.running_tasks,
            "gpus": quota.gpus,
            "queued_tasks": quota.queued_tasks,
            "blob_bytes": quota.blob_bytes,
        }
        await self._connection.execute(insert(quotas), values)


def _to_quota(row: Any) -> Quota:
    return Quota(**{**row, "scope": QuotaScope(row["scope"])})
