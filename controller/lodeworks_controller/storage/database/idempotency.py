"""The requests that were carried out, in SQL."""

from datetime import datetime

from sqlalchemy import Column, Index, String, Table, Text, bindparam, delete, insert, select

from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Instant, metadata

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal_key", String(80), primary_key=True),
    Column("method", String(80), primary_key=True),
    Column("request_id", String(100), primary_key=True),
    Column("result_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "created_at"),
)

_GET = prepared(
    select(idempotency.c.result_id).where(
        idempotency.c.principal_key == bindparam("principal_key"),
        idempotency.c.method == bindparam("method"),
        idempotency.c.request_id == bindparam("request_id"),
    )
)
_PUT = prepared(insert(idempotency))


class SqlIdempotencyRows:
    """The requests on one connection."""

    def __init__(self, connection: Connection, *, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def get(self, principal_key: str, method: str, request_id: str) -> str | None:
        """Returns the id of what the request made, or None if it is new."""
        asked = {"principal_key": principal_key, "method": method, "request_id": request_id}
        result: str | None = (await self._connection.execute(_GET, asked)).scalar_one_or_none()
        return result

    async def put(self, principal_key: str, method: str, request_id: str, *, result_id: str) -> None:
        """Notes what the request made."""
        row = {
            "principal_key": principal_key,
            "method": method,
            "request_id": request_id,
            "result_id": result_id,
            "created_at": self._now,
        }
        await self._connection.execute(_PUT, row)

    async def prune(self, *, before: datetime) -> int:
        """Forgets requests from before the moment; returns how many."""
        return (await self._connection.execute(delete(idempotency).where(idempotency.c.created_at < before))).rowcount
