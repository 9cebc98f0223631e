"""Models and their versions in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)

from lodeworks_controller.domain.clock import from_micros, to_micros
from lodeworks_controller.domain.model import Model, ModelState, ModelVersion, Stage, StageFile, Training
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata

models = Table(
    "models",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", String(100), nullable=False),
    # NULL once deleted, so that the name is free again.
    Column("folded_name", String(200)),
    Column("created_at", Instant, nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("deleted_at", Instant),
    UniqueConstraint("project_id", "folded_name"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Id, ForeignKey("models.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("class_names", JsonText, nullable=False),
    Column("training", JsonText, nullable=False),
    Column("stages", JsonText, nullable=False),
    Column("recommended_stage", Text, nullable=False),
    Column("failure", Text, nullable=False),
    Column("task_id", String(26), nullable=False),
    Column("created_by", String(26), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    UniqueConstraint("model_id", "number"),
    Index(None, "model_id", "state", "number"),
)


class SqlModelRows:
    """The models on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, project_id: str, name_or_id: str) -> Model | None:
        """Returns the model of that name or id in a project."""
        query = select(models).where(
            models.c.project_id == project_id,
            models.c.deleted_at.is_(None),
            (models.c.id == name_or_id) | (models.c.folded_name == fold(name_or_id)),
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_model(row)

    async def insert(self, model: Model) -> None:
        """Stores a new model."""
        await self._connection.execute(insert(models), _model_values(model))

    async def put(self, model: Model) -> None:
        """Stores how a model stands."""
        await self._connection.execute(update(models).where(models.c.id == model.id).values(_model_values(model)))

    async def list(self, project_id: str, *, hidden: bool, after_name: str, limit: int) -> Sequence[Model]:
        """Returns the models of a project by name."""
        query = select(models).where(models.c.project_id == project_id, models.c.deleted_at.is_(None))
        if not hidden:
            query = query.where(models.c.hidden.is_(False))
        query = query.where(models.c.name > after_name).order_by(models.c.name).limit(limit)
        return [_to_model(row) for row in (await self._connection.execute(query)).mappings()]

    async def count_versions(self, model_id: str) -> int:
        """Returns how many versions a model has."""
        query = select(func.count()).where(model_versions.c.model_id == model_id, model_versions.c.deleted_at.is_(None))
        return int((await self._connection.execute(query)).scalar_one())

    async def insert_version(self, version: ModelVersion) -> None:
        """Stores a new version."""
        await self._connection.execute(insert(model_versions), _version_values(version))

    async def put_version(self, version: ModelVersion) -> None:
        """Stores how a version stands."""
        await self._connection.execute(
            update(model_versions).where(model_versions.c.id == version.id).values(_version_values(version))
        )

    async def version(self, version_id: str) -> ModelVersion:
        """Returns a version, a deleted one too, or raises NotFoundError."""
        row = (await self._connection.execute(_joined().where(model_versions.c.id == version_id))).mappings().first()
        if row is None:
            raise NotFoundError("MODEL_NOT_FOUND", f"there is no model version {version_id}", id=version_id)
        return _to_version(row)

    async def numbered(self, model_id: str, number: int) -> ModelVersion | None:
        """Returns the version of a number."""
        query = _joined().where(
            model_versions.c.model_id == model_id,
            model_versions.c.number == number,
            model_versions.c.deleted_at.is_(None),
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_version(row)

    async def newest(self, model_id: str) -> ModelVersion | None:
        """Returns the newest READY version."""
        query = (
            _joined()
            .where(
                model_versions.c.model_id == model_id,
                model_versions.c.state == ModelState.READY.value,
                model_versions.c.deleted_at.is_(None),
            )
            .order_by(model_versions.c.number.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_version(row)

    async def versions(self, model_id: str, *, before_number: int | None, limit: int) -> Sequence[ModelVersion]:
        """Returns the versions of a model, newest first."""
        query = _joined().where(model_versions.c.model_id == model_id, model_versions.c.deleted_at.is_(None))
        if before_number is not None:
            query = query.where(model_versions.c.number < before_number)
        query = query.order_by(model_versions.c.number.desc()).limit(limit)
        return [_to_version(row) for row in (await self._connection.execute(query)).mappings()]


def _joined() -> Select[Any]:
    return select(model_versions, models.c.name, models.c.project_id).join(
        models, models.c.id == model_versions.c.model_id
    )


def _model_values(model: Model) -> dict[str, Any]:
    return {**asdict(model), "folded_name": None if model.deleted_at else fold(model.name)}


def _to_model(row: RowMapping) -> Model:
    return Model(**{key: value for key, value in row.items() if key != "folded_name"})


def _version_values(version: ModelVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "model_id": version.model_id,
        "number": version.number,
        "state": version.state.value,
        "class_names": list(version.class_names),
        "training": asdict(version.training),
        "stages": [_stage_json(stage) for stage in version.stages],
        "recommended_stage": version.recommended_stage,
        "failure": version.failure,
        "task_id": version.task_id,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "deleted_at": version.deleted_at,
    }


def _to_version(row: RowMapping) -> ModelVersion:
    values = dict(row)
    return ModelVersion(
        **{
            **values,
            "state": ModelState(values["state"]),
            "class_names": tuple(values["class_names"]),
            "training": Training(**values["training"]),
            "stages": tuple(_to_stage(stage) for stage in values["stages"]),
        }
    )


def _stage_json(stage: Stage) -> dict[str, Any]:
    at = None if stage.created_at is None else to_micros(stage.created_at)
    return {
        "name": stage.name,
        "files": [asdict(file) for file in stage.files],
        "metrics": dict(stage.metrics),
        "created_at": at,
    }


def _to_stage(given: Mapping[str, Any]) -> Stage:
    at = given["created_at"]
    return Stage(
        name=given["name"],
        files=tuple(StageFile(**file) for file in given["files"]),
        metrics=given["metrics"],
        created_at=None if at is None else from_micros(at),
    )
