"""Executors in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Integer, RowMapping, String, Table, Text, delete, select

from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata
from lodeworks_controller.storage.database.upsert import insert_new

executors = Table(
    "executors",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("kind", String(12), nullable=False),
    Column("image", Text, nullable=False),
    Column("templates", JsonText, nullable=False),
    Column("object_type", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
)


class SqlExecutorRows:
    """The executors that people registered, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, name_or_id: str) -> Executor | None:
        """Returns the executor of that name or id."""
        query = select(executors).where((executors.c.id == name_or_id) | (executors.c.name == name_or_id))
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_executor(row)

    async def insert(self, executor: Executor) -> None:
        """Stores a new executor; raises ExistsError if the name is taken."""
        if not (await self._connection.execute(insert_new(executors), _values(executor))).rowcount:
            message = f"there is an executor named {executor.name} already; choose another name"
            raise ExistsError("EXECUTOR_EXISTS", message, name=executor.name)

    async def delete(self, executor_id: str) -> None:
        """Removes an executor; raises NotFoundError if there is none."""
        rows = await self._connection.execute(delete(executors).where(executors.c.id == executor_id))
        if not rows.rowcount:
            raise NotFoundError("EXECUTOR_NOT_FOUND", f"there is no executor {executor_id}", id=executor_id)

    async def list(self) -> Sequence[Executor]:
        """Returns the executors by name."""
        rows = (await self._connection.execute(select(executors).order_by(executors.c.name))).mappings()
        return [_to_executor(row) for row in rows]


def _values(executor: Executor) -> dict[str, Any]:
    return {
        "id": executor.id,
        "name": executor.name,
        "kind": executor.kind.value,
        "image": executor.image,
        "templates": {operation.value: text for operation, text in executor.templates.items()},
        "object_type": executor.object_type,
        "created_at": executor.created_at,
    }


def _to_executor(row: RowMapping) -> Executor:
    return Executor(
        id=row["id"],
        name=row["name"],
        kind=ExecutorKind(row["kind"]),
        image=row["image"],
        templates={ExecutorOperation(operation): text for operation, text in row["templates"].items()},
        object_type=row["object_type"],
        created_at=row["created_at"],
    )
