"""Inference and evaluation: a model predicts a dataset once, and is measured on it as often as one likes."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import parse_config
from lodeworks_formats.task_inputs import InferOptions

from lodeworks_controller.domain.dataset import DatasetVersion
from lodeworks_controller.domain.evaluation import Evaluated, Evaluation, EvaluationState
from lodeworks_controller.domain.executor import Executor, ExecutorOperation
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.object_class import ClassMap
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.executor import (
    DEFAULT_EXPORT_FORMAT,
    ExecutorService,
    SettingsInForce,
    policy_spec,
    resources_of,
)
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.labelled import parents_of, require_annotated
from lodeworks_controller.service.model_use import ModelUse, model_use, settings_digest, trainer_of
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService

INFER: Final = "infer"
EVALUATE: Final = "evaluate"
EVALUATION: Final = "evaluation"
BUILTIN_INFER: Final = "infer"
PROTOCOLS: Final = ("coco", "ymir")
SCORE_OF_CURVES: Final = 0.01
"""Predictions keep boxes down to here: a precision-recall curve needs its tail; thresholds are chosen afterwards."""


@dataclass(frozen=True, slots=True)
class InferWish:
    """A model on a dataset; empty values mean the defaults."""

    model: str
    dataset: str
    variant: str = ""
    algorithm: str = ""
    executor: str = ""
    settings_yaml: str = ""
    options: TaskOptions = field(default_factory=TaskOptions)


@dataclass(frozen=True, slots=True)
class _Inference:
    """An inference that stood every check."""

    use: ModelUse
    version: DatasetVersion
    executor: Executor
    in_force: SettingsInForce | None
    """None for the platform's own inference."""
    settings: dict[str, Any]
    options: TaskOptions

    @property
    def settings_digest(self) -> str:
        """What tells its predictions apart from others of the same model."""
        return settings_digest(self.executor.name, self.settings)


class MeasuringService:
    """Makes inference and evaluation tasks."""

    def __init__(self, store: Store, *, tasks: TaskService, executors: ExecutorService, ids: Ids) -> None:
        self._store = store
        self._tasks = tasks
        self._executors = executors
        self._ids = ids

    async def infer(self, principal: Principal, project: str, wish: InferWish, *, request_id: str = "") -> str:
        """Makes the task that predicts; its result is a prediction set. Returns the task's id."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "model.infer", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            inference = await self._check(tx, project_id, wish)
            task_id = await self._submit(tx, principal, project_id, inference)
            await once.keep(tx, task_id)
            return task_id

    async def evaluate(
        self, principal: Principal, project: str, wish: InferWish, *, protocol: str = "", request_id: str = ""
    ) -> Evaluation:
        """Makes an evaluation and its task; the model predicts first unless it has already."""
        protocol = protocol or PROTOCOLS[0]
        if protocol not in PROTOCOLS:
            message = f"protocol {protocol!r} is not known; there are: {', '.join(PROTOCOLS)}"
            raise InvalidError("PROTOCOL_UNKNOWN", message, field="protocol")
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "model.evaluate", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.evaluations.get(made)
            inference = await self._check(tx, project_id, wish)
            require_annotated(inference.version)
            class_map = await tx.classes.get(project_id)
            evaluation = Evaluation(
                id=self._ids(),
                project_id=project_id,
                state=EvaluationState.CREATING,
                sides=_sides(inference),
                protocol=protocol,
                created_by=principal.user_id,
                created_at=tx.now(),
                warnings=_warnings(inference),
            )
            waits_for = await self._predictions(tx, principal, project_id, inference)
            wanted = _evaluate_task(evaluation, inference, class_map=class_map, depends_on=waits_for)
            task = await self._tasks.submit(tx, wanted)
            evaluation = replace(evaluation, task_id=task.id)
            await tx.evaluations.insert(evaluation)
            await once.keep(tx, evaluation.id)
            return evaluation

    async def _predictions(
        self, tx: Transaction, principal: Principal, project_id: str, inference: _Inference
    ) -> tuple[str, ...]:
        """Returns the task to wait for that predicts; nothing where the predictions are there."""
        found = await tx.prediction_sets.find(
            version_id=inference.version.id,
            model_key=inference.use.key,
            settings_digest=inference.settings_digest,
            variant=inference.use.variant,
        )
        return () if found is not None else (await self._submit(tx, principal, project_id, inference),)

    async def _check(self, tx: Transaction, project_id: str, wish: InferWish) -> _Inference:
        if not wish.dataset:
            raise InvalidError("DATASET_MISSING", "name the dataset to run on", field="dataset")
        executor = await self._executor(tx, project_id, wish)
        own = executor.name == BUILTIN_INFER
        use = await model_use(tx, project_id, wish.model, variant=wish.variant, algorithm=wish.algorithm, with_onnx=own)
        version = await find_version(tx, project_id, wish.dataset)
        parents_of([version])
        if own:
            return _Inference(use, version, executor, None, _options(wish.settings_yaml), wish.options)
        in_force = self._executors.in_force(executor, ExecutorOperation.INFER, wish.settings_yaml)
        settings = parse_config(in_force.settings_yaml, file="settings")
        return _Inference(use, version, executor, in_force, settings, wish.options)

    async def _executor(self, tx: Transaction, project_id: str, wish: InferWish) -> Executor:
        """Returns the executor that infers. Packages run on the platform's own."""
        name = wish.executor or (BUILTIN_INFER if wish.variant else "")
        trained_by, runs_here = ("", True)
        if wish.model and not name:
            trained_by, runs_here = await trainer_of(tx, project_id, wish.model)
        return await self._executors.choose(
            tx,
            name,
            project_id=project_id,
            operation=ExecutorOperation.INFER,
            trained_by=trained_by,
            runs_here=runs_here,
            default=BUILTIN_INFER,
        )

    async def _submit(self, tx: Transaction, principal: Principal, project_id: str, inference: _Inference) -> str:
        executor, in_force = inference.executor, inference.in_force
        task = await self._tasks.submit(
            tx,
            NewTask(
                kind=INFER,
                project_id=project_id,
                title=f"infer {_shown(inference.use)} on {inference.version.full_name}",
                spec={
                    "dataset_version_id": inference.version.id,
                    "model": inference.use.to_spec(),
                    "executor": executor.name,
                    "executor_id": executor.id,
                    "run": executor.run_name,
                    "policy": policy_spec(executor),
                    "object_type": executor.object_type,
                    "settings": inference.settings,
                    "settings_yaml": "" if in_force is None else in_force.settings_yaml,
                    "settings_digest": inference.settings_digest,
                    "export_format": DEFAULT_EXPORT_FORMAT if in_force is None else in_force.export_format,
                },
                created_by=principal.user_id,
                depends_on=parents_of([inference.version]),
                requires=frozenset({executor.requires}),
                resources=resources_of(executor, in_force),
                subject=ObjectRef("dataset_version", inference.version.id, inference.version.full_name),
                options=inference.options,
            ),
        )
        return task.id


def _options(settings_yaml: str) -> dict[str, Any]:
    """Returns the options of the built-in inference as JSON values, or raises InvalidError."""
    try:
        given = parse_config(settings_yaml, file="settings") if settings_yaml.strip() else {}
        options = InferOptions.from_bytes(canonical_json({"score_threshold": SCORE_OF_CURVES, **given}))
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", error.message, field="settings") from error
    return {"score_threshold": options.score_threshold, "threads": options.threads, "batch_size": options.batch_size}


def _known_classes(class_map: ClassMap, use: ModelUse) -> tuple[str, ...]:
    """Returns the classes of a model as the project's map calls them now."""
    found = [entry.name for name in use.class_names if (entry := class_map.find(name)) is not None]
    if not found:
        message = f"the project has none of the classes of {use.model_name} ({', '.join(use.class_names)})"
        raise ConflictError("CLASS_UNKNOWN", f"{message}; add them, or aliases for them")
    return tuple(dict.fromkeys(found))


def _sides(inference: _Inference) -> Evaluated:
    use, version = inference.use, inference.version
    return Evaluated(
        model_version_id=use.model_version_id,
        model_name=use.model_name,
        variant=use.variant,
        dataset_version_id=version.id,
        dataset_name=version.full_name,
    )


def _evaluate_task(
    evaluation: Evaluation, inference: _Inference, *, class_map: ClassMap, depends_on: tuple[str, ...]
) -> NewTask:
    return NewTask(
        kind=EVALUATE,
        project_id=evaluation.project_id,
        title=f"evaluate {_shown(inference.use)} on {inference.version.full_name}",
        spec={
            "evaluation_id": evaluation.id,
            "dataset_version_id": inference.version.id,
            "model": inference.use.to_spec(),
            "settings_digest": inference.settings_digest,
            "class_names": list(_known_classes(class_map, inference.use)),
            "class_revision": class_map.revision,
            "protocol": evaluation.protocol,
        },
        created_by=evaluation.created_by,
        depends_on=depends_on,
        requires=frozenset({"builtin:evaluate"}),
        subject=ObjectRef(EVALUATION, evaluation.id, inference.use.model_name),
        options=inference.options,
    )


def _warnings(inference: _Inference) -> tuple[str, ...]:
    name = inference.version.full_name
    if inference.version.id == inference.use.train_version_id:
        return (f"{name} is what the model was trained on: the figures say nothing about new pictures",)
    if inference.version.id == inference.use.val_version_id:
        return (f"{name} is what the model was chosen on: the figures are kinder than new pictures would be",)
    return ()


def _shown(use: ModelUse) -> str:
    return f"{use.model_name} ({use.variant})" if use.variant else use.model_name
