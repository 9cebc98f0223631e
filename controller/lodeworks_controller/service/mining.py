"""Mining: which pictures of a dataset to label next, as a new version of chosen ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import parse_config
from lodeworks_formats.task_inputs import MineOptions

from lodeworks_controller.domain.dataset import DatasetVersion, Making, Operation
from lodeworks_controller.domain.executor import Executor, ExecutorOperation
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.dataset_versions import open_version
from lodeworks_controller.service.executor import (
    DEFAULT_EXPORT_FORMAT,
    ExecutorService,
    SettingsInForce,
    policy_spec,
    resources_of,
)
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.labelled import parents_of
from lodeworks_controller.service.model_use import ModelUse, model_use, trainer_of
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService

MINE: Final = "mine"
BUILTIN_MINE: Final = "mine"
WITHOUT_MODEL: Final = "typiclust"
WITH_MODEL: Final = "hybrid"
NEED_NO_MODEL: Final = frozenset({"random", "typiclust", "kcenter"})


@dataclass(frozen=True, slots=True)
class MineWish:
    """How many pictures of a dataset, chosen how; empty values mean the defaults."""

    dataset: str
    top_k: int
    model: str = ""
    strategy: str = ""
    to: str = ""
    executor: str = ""
    settings_yaml: str = ""
    options: TaskOptions = field(default_factory=TaskOptions)


class MiningService:
    """Makes mining tasks."""

    def __init__(self, store: Store, *, tasks: TaskService, executors: ExecutorService, ids: Ids) -> None:
        self._store = store
        self._tasks = tasks
        self._executors = executors
        self._ids = ids

    async def mine(self, principal: Principal, project: str, wish: MineWish, *, request_id: str = "") -> DatasetVersion:
        """Makes the version of chosen pictures, and the task that chooses them."""
        if wish.top_k < 1:
            raise InvalidError("TOP_K_INVALID", "choose at least 1 picture", field="top_k")
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            once = Once(principal.actor, "dataset.mine", request_id)
            made = await once.result(tx)
            if made is not None:
                return await tx.datasets.version(made)
            source = await find_version(tx, found.id, wish.dataset)
            waits_for = parents_of([source])
            executor, in_force, spec, use = await self._spec(tx, found.id, wish)
            making = Making(
                Operation.MINE,
                (source.id,),
                {
                    "strategy": spec["options"]["strategy"],
                    "top_k": wish.top_k,
                    "model": "" if use is None else use.model_name,
                    "model_key": "" if use is None else use.key,
                },
                spec["options"]["seed"],
            )
            version = await open_version(
                tx,
                found,
                to=wish.to or source.name,
                making=making,
                created_by=principal.user_id,
                class_revision=source.class_revision,
                ids=self._ids,
            )
            task = await self._tasks.submit(
                tx,
                NewTask(
                    kind=MINE,
                    project_id=found.id,
                    title=f"mine {source.full_name} by {spec['options']['strategy']}",
                    spec={**spec, "dataset_version_id": source.id, "target_version_id": version.id},
                    created_by=principal.user_id,
                    depends_on=waits_for,
                    requires=frozenset({executor.requires}),
                    resources=resources_of(executor, in_force),
                    subject=ObjectRef("dataset_version", version.id, version.full_name),
                    options=wish.options,
                ),
            )
            version = replace(version, task_id=task.id)
            await tx.datasets.put_version(version)
            await once.keep(tx, version.id)
            return version

    async def _spec(
        self, tx: Transaction, project_id: str, wish: MineWish
    ) -> tuple[Executor, SettingsInForce | None, dict[str, Any], ModelUse | None]:
        executor = await self._executor(tx, project_id, wish)
        own = executor.name == BUILTIN_MINE
        use = await model_use(tx, project_id, wish.model, with_onnx=own) if wish.model else None
        strategy = wish.strategy or (WITHOUT_MODEL if use is None else WITH_MODEL)
        if use is None and not (own and strategy in NEED_NO_MODEL):
            raise InvalidError(
                "MODEL_MISSING", f"strategy {strategy} needs a model; name one with --model", field="model"
            )
        options = _options(wish, strategy=strategy, own=own, class_ap={} if use is None else use.class_ap)
        in_force = None if own else self._executors.in_force(executor, ExecutorOperation.MINE, wish.settings_yaml)
        spec = {
            "model": None if use is None else use.to_spec(),
            "executor": executor.name,
            "executor_id": executor.id,
            "policy": policy_spec(executor),
            "object_type": executor.object_type,
            "run": executor.run_name,
            "options": options,
            "settings_yaml": "" if in_force is None else in_force.settings_yaml,
            "export_format": DEFAULT_EXPORT_FORMAT if in_force is None else in_force.export_format,
            "top_k": wish.top_k,
        }
        return executor, in_force, spec, use

    async def _executor(self, tx: Transaction, project_id: str, wish: MineWish) -> Executor:
        """Returns the executor that mines. A strategy is the platform's own: who names one means its executor."""
        name = wish.executor or (BUILTIN_MINE if wish.strategy else "")
        trained_by, runs_here = ("", True)
        if wish.model and not name:
            trained_by, runs_here = await trainer_of(tx, project_id, wish.model)
        return await self._executors.choose(
            tx,
            name,
            project_id=project_id,
            operation=ExecutorOperation.MINE,
            trained_by=trained_by,
            runs_here=runs_here,
            default=BUILTIN_MINE,
        )


def _options(wish: MineWish, *, strategy: str, own: bool, class_ap: Mapping[str, float]) -> dict[str, Any]:
    """Returns the options of the built-in mining as JSON values, or raises InvalidError."""
    try:
        given = parse_config(wish.settings_yaml, file="settings") if own and wish.settings_yaml.strip() else {}
        options = MineOptions.from_bytes(canonical_json({**given, "strategy": strategy, "top_k": wish.top_k}))
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", error.message, field="settings") from error
    return {
        "strategy": options.strategy,
        "top_k": options.top_k,
        "seed": options.seed,
        "score_threshold": options.score_threshold,
        "class_names": list(options.class_names or class_ap),
        "class_ap": list(options.class_ap or class_ap.values()),
    }
