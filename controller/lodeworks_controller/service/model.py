"""Models: what trainings made, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final, Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.model import Model, ModelState, ModelVersion, Stage
from lodeworks_controller.domain.reference import check_name, fold
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.errors import ConflictError, ExistsError, InvalidError, NotFoundError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.named import reference_or_id
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

_ALL = 10_000
_SHOWN = 5


class ModelRows(Protocol):
    """The models as one transaction sees them. No method commits."""

    async def find(self, project_id: str, name_or_id: str) -> Model | None:
        """Returns the model of that name or id in a project."""
        ...

    async def insert(self, model: Model) -> None:
        """Stores a new model."""
        ...

    async def put(self, model: Model) -> None:
        """Stores how a model stands."""
        ...

    async def list(self, project_id: str, *, hidden: bool, after_name: str, limit: int) -> Sequence[Model]:
        """Returns the models of a project by name."""
        ...

    async def count_versions(self, model_id: str) -> int:
        """Returns how many versions a model has."""
        ...

    async def insert_version(self, version: ModelVersion) -> None:
        """Stores a new version."""
        ...

    async def put_version(self, version: ModelVersion) -> None:
        """Stores how a version stands."""
        ...

    async def version(self, version_id: str) -> ModelVersion:
        """Returns a version, a deleted one too, or raises NotFoundError."""
        ...

    async def numbered(self, model_id: str, number: int) -> ModelVersion | None:
        """Returns the version of a number."""
        ...

    async def newest(self, model_id: str) -> ModelVersion | None:
        """Returns the newest READY version."""
        ...

    async def versions(self, model_id: str, *, before_number: int | None, limit: int) -> Sequence[ModelVersion]:
        """Returns the versions of a model, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model with its newest READY version and how many versions it has."""

    model: Model
    latest: ModelVersion | None
    version_count: int


async def find_version(tx: Transaction, project_id: str, text: str) -> tuple[ModelVersion, str | None]:
    """Returns the version that ``name``, ``name@3``, ``name@3:stage`` or an id means, and the stage if one is named."""
    reference = reference_or_id(text, field="model")
    model = await tx.models.find(project_id, reference.name)
    if model is None:
        version = await _by_id(tx, project_id, reference.name) if reference.number is None else None
        if version is not None:
            return version, reference.stage
        raise await _no_model(tx, project_id, reference.name)
    if reference.number is None:
        newest = await tx.models.newest(model.id)
        if newest is None:
            raise await _none_ready(tx, model)
        return newest, reference.stage
    numbered = await tx.models.numbered(model.id, reference.number)
    if numbered is None:
        raise NotFoundError("MODEL_NOT_FOUND", f"{model.name} has no version {reference.number}", name=text)
    return numbered, reference.stage


async def find_stage(tx: Transaction, project_id: str, text: str, *, with_onnx: bool) -> tuple[ModelVersion, Stage]:
    """Returns the stage that ``name[@3][:stage]`` means, or refuses; without a stage the recommended one."""
    version, stage = await find_version(tx, project_id, text)
    return version, version.stage_with_onnx(stage) if with_onnx else version.stage(stage)


async def _by_id(tx: Transaction, project_id: str, version_id: str) -> ModelVersion | None:
    try:
        version = await tx.models.version(version_id)
    except NotFoundError:
        return None
    return version if version.project_id == project_id and version.deleted_at is None else None


async def _none_ready(tx: Transaction, model: Model) -> NotFoundError:
    """Returns the refusal of a model without a READY version; it names those that may be meant by number."""
    versions = await tx.models.versions(model.id, before_number=None, limit=_SHOWN)
    there = ", ".join(f"{version.full_name} ({version.state.value})" for version in versions) or "none at all"
    return NotFoundError(
        "MODEL_NOT_FOUND", f"{model.name} has no version that is ready; it has: {there}", name=model.name
    )


async def _no_model(tx: Transaction, project_id: str, name: str) -> NotFoundError:
    names = [model.name for model in await tx.models.list(project_id, hidden=True, after_name="", limit=_ALL)]
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(names) or 'none yet'}"
    return NotFoundError("MODEL_NOT_FOUND", f"the project has no model {name!r}; {hint}", name=name)


_BESIDE: Final[Mapping[str, str]] = {"attachment/": "attachments/", "tensorboard/": "tensorboard/"}
"""Roles of a training's outputs beside its stages → folders that people see."""


def _path_of(role: str) -> str:
    """Returns the path of an output that lies beside the stages; empty for others."""
    return next((path + role.removeprefix(start) for start, path in _BESIDE.items() if role.startswith(start)), "")


class ModelService:
    """Shows models, names them, and says which stage is meant."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self, principal: Principal, project: str, *, hidden: bool, after_name: str, limit: int
    ) -> Sequence[ListedModel]:
        """Returns the models of a project by name."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            found = await tx.models.list(project_id, hidden=hidden, after_name=after_name, limit=limit)
            return [await _listed(tx, model) for model in found]

    async def get(self, principal: Principal, project: str, text: str) -> tuple[ListedModel, ModelVersion]:
        """Returns the model and the version that a name means."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            version, _ = await find_version(tx, project_id, text)
            model = await tx.models.find(project_id, version.model_id)
            assert model is not None
            return await _listed(tx, model), version

    async def files(self, principal: Principal, project: str, text: str) -> Sequence[tuple[str, Output]]:
        """Returns what the training of a version left beside its stages, by path: attachments, event files."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            version, _ = await find_version(tx, project_id, text)
            if not version.task_id:
                return ()
            task = await tx.tasks.get(version.task_id)
            outputs = await tx.tasks.outputs(task.id, task.lease.epoch)
        found = [(path, output) for output in outputs if (path := _path_of(output.role))]
        return sorted(found, key=lambda one: one[0])

    async def versions(
        self, principal: Principal, project: str, name: str, *, before_number: int | None, limit: int
    ) -> Sequence[ModelVersion]:
        """Returns the versions of a model, newest first."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            model = await self._model(tx, project_id, name)
            return await tx.models.versions(model.id, before_number=before_number, limit=limit)

    async def recommend(self, principal: Principal, project: str, text: str, *, request_id: str = "") -> ModelVersion:
        """Chooses the stage that is meant when none is named."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "model.recommend", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.models.version(made)
            version, stage = await find_version(tx, project_id, text)
            if stage is None:
                message = f"name the stage, as in {version.full_name}:STAGE"
                raise InvalidError("STAGE_EMPTY", message, field="stage")
            changed = version.recommend(stage)
            await tx.models.put_version(changed)
            await once.keep(tx, version.id)
            await tx.audit.add(
                "model.recommend", version.id, actor=principal.actor, project_id=project_id, detail={"stage": stage}
            )
            return changed

    async def rename(
        self, principal: Principal, project: str, name: str, *, new_name: str, request_id: str = ""
    ) -> ListedModel:
        """Gives a model another name."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "model.rename", request_id)
            made = await once.result(tx)
            model = await self._model(tx, project_id, made or name)
            if made is not None:
                return await _listed(tx, model)
            clean = check_name(new_name)
            taken = await tx.models.find(project_id, clean)
            if taken is not None and taken.id != model.id:
                raise ExistsError("MODEL_EXISTS", f"the project has a model {clean!r} already; choose another name")
            renamed = replace(model, name=clean)
            await tx.models.put(renamed)
            await once.keep(tx, model.id)
            await tx.audit.add(
                "model.rename", model.id, actor=principal.actor, project_id=project_id, detail={"name": clean}
            )
            return await _listed(tx, renamed)

    async def delete(self, principal: Principal, project: str, text: str, *, request_id: str = "") -> None:
        """Deletes a version, or a model with all of its versions; what is being made is refused."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "model.delete", request_id)
            if await once.result(tx) is not None:
                return
            model = await tx.models.find(project_id, reference_or_id(text, field="model").name)
            whole = model is not None and fold(text) in {fold(model.name), model.id}
            if model is not None and whole:
                versions = await tx.models.versions(model.id, before_number=None, limit=_ALL)
            else:
                versions = [(await find_version(tx, project_id, text))[0]]
            for version in versions:
                _refuse_busy(version)
                await tx.models.put_version(replace(version, deleted_at=tx.now()))
            if model is not None and whole:
                await tx.models.put(replace(model, deleted_at=tx.now()))
            await once.keep(tx, model.id if model is not None and whole else versions[0].id)
            await tx.audit.add("model.delete", text, actor=principal.actor, project_id=project_id)

    async def _model(self, tx: Transaction, project_id: str, name: str) -> Model:
        model = await tx.models.find(project_id, name)
        if model is None:
            raise await _no_model(tx, project_id, name)
        return model


async def _listed(tx: Transaction, model: Model) -> ListedModel:
    return ListedModel(model, await tx.models.newest(model.id), await tx.models.count_versions(model.id))


def _refuse_busy(version: ModelVersion) -> None:
    if version.state is ModelState.CREATING:
        message = f"{version.full_name} is in training; cancel task {version.task_id} first"
        raise ConflictError("MODEL_IN_USE", message, task_id=version.task_id)
