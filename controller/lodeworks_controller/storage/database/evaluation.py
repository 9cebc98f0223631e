"""Evaluations in SQL; match tables and reports are blobs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Column, Index, RowMapping, String, Table, Text, delete, insert, select, update

from lodeworks_controller.domain.evaluation import Evaluated, Evaluation, EvaluationState, Findings
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("state", String(12), nullable=False),
    Column("model_version_id", Id, nullable=False),
    Column("dataset_version_id", Id, nullable=False),
    Column("sides", JsonText, nullable=False),
    Column("protocol", String(12), nullable=False),
    Column("prediction_set_id", String(26), nullable=False),
    Column("task_id", String(26), nullable=False),
    Column("findings", JsonText),
    Column("warnings", JsonText, nullable=False),
    Column("failure", Text, nullable=False),
    Column("created_by", String(26), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "project_id", "id"),
)


class SqlEvaluationRows:
    """The evaluations on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, evaluation_id: str) -> Evaluation:
        """Returns the evaluation, or raises NotFoundError."""
        query = select(evaluations).where(evaluations.c.id == evaluation_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            message = f"there is no evaluation {evaluation_id}; see `lode evaluation ls`"
            raise NotFoundError("EVALUATION_NOT_FOUND", message, id=evaluation_id)
        return _to_evaluation(row)

    async def insert(self, evaluation: Evaluation) -> None:
        """Stores a new evaluation."""
        await self._connection.execute(insert(evaluations), _values(evaluation))

    async def put(self, evaluation: Evaluation) -> None:
        """Stores how an evaluation stands."""
        await self._connection.execute(
            update(evaluations).where(evaluations.c.id == evaluation.id).values(_values(evaluation))
        )

    async def delete(self, evaluation_id: str) -> None:
        """Removes an evaluation."""
        await self._connection.execute(delete(evaluations).where(evaluations.c.id == evaluation_id))

    async def list(
        self,
        project_id: str,
        *,
        model_version_id: str = "",
        dataset_version_id: str = "",
        before_id: str = "",
        limit: int = 100,
    ) -> Sequence[Evaluation]:
        """Returns evaluations of a project, newest first."""
        query = select(evaluations).where(evaluations.c.project_id == project_id)
        if model_version_id:
            query = query.where(evaluations.c.model_version_id == model_version_id)
        if dataset_version_id:
            query = query.where(evaluations.c.dataset_version_id == dataset_version_id)
        if before_id:
            query = query.where(evaluations.c.id < before_id)
        query = query.order_by(evaluations.c.id.desc()).limit(limit)
        return [_to_evaluation(row) for row in (await self._connection.execute(query)).mappings()]


def _values(evaluation: Evaluation) -> dict[str, Any]:
    return {
        **{name: getattr(evaluation, name) for name in _PLAIN},
        "state": evaluation.state.value,
        "model_version_id": evaluation.sides.model_version_id,
        "dataset_version_id": evaluation.sides.dataset_version_id,
        "sides": asdict(evaluation.sides),
        "findings": None if evaluation.findings is None else asdict(evaluation.findings),
        "warnings": list(evaluation.warnings),
    }


_PLAIN = ("id", "project_id", "protocol", "prediction_set_id", "task_id", "failure", "created_by", "created_at")


def _to_evaluation(row: RowMapping) -> Evaluation:
    return Evaluation(
        **{name: row[name] for name in _PLAIN},
        state=EvaluationState(row["state"]),
        sides=Evaluated(**row["sides"]),
        findings=None if row["findings"] is None else Findings(**row["findings"]),
        warnings=tuple(row["warnings"]),
    )
