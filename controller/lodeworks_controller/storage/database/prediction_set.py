"""Prediction sets in SQL."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, String, Table, insert, select, update

from lodeworks_controller.domain.manifest import Statistics
from lodeworks_controller.domain.prediction_set import PredictionSet
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, JsonText, metadata

prediction_sets = Table(
    "prediction_sets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("version_id", ForeignKey("dataset_versions.id"), nullable=False),
    Column("model_key", String(200), nullable=False),
    Column("model_name", String(200), nullable=False),
    Column("settings_digest", String(64), nullable=False),
    Column("variant", String(80), nullable=False),
    Column("manifest_digest", Digest, nullable=False),
    Column("statistics", JsonText, nullable=False),
    Column("task_id", Id),
    Column("created_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Index(None, "version_id", "model_key"),
)


class SqlPredictionSetRows:
    """Prediction sets on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, set_id: str) -> PredictionSet:
        """Returns a set, or raises NotFoundError PREDICTION_SET_NOT_FOUND."""
        query = select(prediction_sets).where(prediction_sets.c.id == set_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            message = f"there is no prediction set {set_id}; list those of the dataset"
            raise NotFoundError("PREDICTION_SET_NOT_FOUND", message)
        return _to_set(row)

    async def find(
        self, *, version_id: str, model_key: str, settings_digest: str | None = None, variant: str | None = None
    ) -> PredictionSet | None:
        """Returns the newest set of a model on a version, of these settings and this variant if given."""
        query = select(prediction_sets).where(
            prediction_sets.c.version_id == version_id,
            prediction_sets.c.model_key == model_key,
            prediction_sets.c.deleted_at.is_(None),
        )
        if settings_digest is not None:
            query = query.where(prediction_sets.c.settings_digest == settings_digest)
        if variant is not None:
            query = query.where(prediction_sets.c.variant == variant)
        query = query.order_by(prediction_sets.c.id.desc()).limit(1)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_set(row)

    async def list(self, version_id: str, *, before_id: str = "", limit: int = 100) -> Sequence[PredictionSet]:
        """Returns the sets of a version, newest first."""
        query = select(prediction_sets).where(
            prediction_sets.c.version_id == version_id, prediction_sets.c.deleted_at.is_(None)
        )
        if before_id:
            query = query.where(prediction_sets.c.id < before_id)
        query = query.order_by(prediction_sets.c.id.desc()).limit(limit)
        return [_to_set(row) for row in (await self._connection.execute(query)).mappings()]

    async def add(self, found: PredictionSet) -> None:
        """Stores a new set."""
        await self._connection.execute(insert(prediction_sets), _values(found))

    async def put(self, found: PredictionSet) -> None:
        """Stores a set that was deleted."""
        mine = prediction_sets.c.id == found.id
        await self._connection.execute(update(prediction_sets).where(mine).values(_values(found)))


def _values(found: PredictionSet) -> dict[str, Any]:
    values = {field.name: getattr(found, field.name) for field in fields(PredictionSet)}
    return values | {"statistics": found.statistics.to_json()}


def _to_set(row: Any) -> PredictionSet:
    values = {field.name: row[field.name] for field in fields(PredictionSet)}
    return PredictionSet(**(values | {"statistics": Statistics.from_json(row["statistics"])}))
