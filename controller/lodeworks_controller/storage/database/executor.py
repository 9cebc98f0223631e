"""Executors in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Boolean, Column, Integer, RowMapping, String, Table, Text, delete, false, select, update

from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation, ExecutorPolicy
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
    Column("project_id", Id, nullable=False, server_default=""),
    Column("public", Boolean, nullable=False, server_default=false()),
    Column("reference", Text, nullable=False, server_default=""),
    Column("by_type", JsonText, nullable=False, server_default="{}"),
    Column("policy", JsonText, nullable=False, server_default="{}"),
    Column("mining_id", Id, nullable=False, server_default=""),
    Column("inference_id", Id, nullable=False, server_default=""),
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
            raise _exists(executor.name)

    async def put(self, executor: Executor) -> None:
        """Stores an executor that changed; raises ExistsError if its new name is taken, NotFoundError if it is gone."""
        taken = await self._connection.execute(
            select(executors.c.id).where((executors.c.name == executor.name) & (executors.c.id != executor.id))
        )
        if taken.first() is not None:
            raise _exists(executor.name)
        rows = await self._connection.execute(
            update(executors).where(executors.c.id == executor.id).values(_values(executor))
        )
        if not rows.rowcount:
            raise _gone(executor.id)

    async def delete(self, executor_id: str) -> None:
        """Removes an executor; raises NotFoundError if there is none."""
        rows = await self._connection.execute(delete(executors).where(executors.c.id == executor_id))
        if not rows.rowcount:
            raise _gone(executor_id)

    async def list(self) -> Sequence[Executor]:
        """Returns the executors by name."""
        rows = (await self._connection.execute(select(executors).order_by(executors.c.name))).mappings()
        return [_to_executor(row) for row in rows]


def _exists(name: str) -> ExistsError:
    return ExistsError("EXECUTOR_EXISTS", f"there is an executor named {name} already; choose another name", name=name)


def _gone(executor_id: str) -> NotFoundError:
    return NotFoundError("EXECUTOR_NOT_FOUND", f"there is no executor {executor_id}", id=executor_id)


def _values(executor: Executor) -> dict[str, Any]:
    return {
        "id": executor.id,
        "name": executor.name,
        "kind": executor.kind.value,
        "image": executor.image,
        "templates": _texts(executor.templates),
        "object_type": executor.object_type,
        "created_at": executor.created_at,
        "project_id": executor.project_id,
        "public": executor.public,
        "reference": executor.reference,
        "by_type": {str(kind): _texts(templates) for kind, templates in executor.by_type.items()},
        "policy": asdict(executor.policy),
        "mining_id": executor.mining_id,
        "inference_id": executor.inference_id,
    }


def _texts(templates: Mapping[ExecutorOperation, str]) -> dict[str, str]:
    return {operation.value: text for operation, text in templates.items()}


def _templates(texts: Mapping[str, str]) -> dict[ExecutorOperation, str]:
    return {operation: texts[operation.value] for operation in ExecutorOperation if operation.value in texts}


def _to_executor(row: RowMapping) -> Executor:
    return Executor(
        id=row["id"],
        name=row["name"],
        kind=ExecutorKind(row["kind"]),
        image=row["image"],
        templates=_templates(row["templates"]),
        object_type=row["object_type"],
        created_at=row["created_at"],
        project_id=row["project_id"],
        public=row["public"],
        reference=row["reference"],
        by_type={int(kind): _templates(texts) for kind, texts in row["by_type"].items()},
        policy=ExecutorPolicy(**row["policy"]),
        mining_id=row["mining_id"],
        inference_id=row["inference_id"],
    )
