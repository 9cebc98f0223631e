"""Executors: those that come with the platform and those that people registered; which one a task gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import RESERVED_KEYS, parse_config, parse_size, render_config

from lodeworks_controller.domain.executor import Executor, ExecutorOperation, SettingsCheck
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.project import ObjectType
from lodeworks_controller.domain.task.lane import Wants
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.placement import Candidate, waiting_reason
from lodeworks_controller.domain.task.run import Resources, RunPolicy
from lodeworks_controller.domain.worker import WorkerState
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

DEFAULT_TRAINER: Final = "detector"
DEFAULT_EXPORT_FORMAT: Final = "voc:raw"
_MOST_PROJECTS = 10_000
_OBJECT_TYPES: Final[Mapping[ObjectType, int]] = {
    ObjectType.DETECTION: 2,
    ObjectType.SEMANTIC_SEGMENTATION: 3,
    ObjectType.INSTANCE_SEGMENTATION: 4,
}


class ExecutorRows(Protocol):
    """The executors that people registered, as one transaction sees them. No method commits."""

    async def find(self, name_or_id: str) -> Executor | None:
        """Returns the executor of that name or id."""
        ...

    async def insert(self, executor: Executor) -> None:
        """Stores a new executor; raises ExistsError if the name is taken."""
        ...

    async def put(self, executor: Executor) -> None:
        """Stores an executor that changed; raises ExistsError if its new name is taken, NotFoundError if it is gone."""
        ...

    async def delete(self, executor_id: str) -> None:
        """Removes an executor; raises NotFoundError if there is none."""
        ...

    async def list(self) -> Sequence[Executor]:
        """Returns the executors by name."""
        ...


@dataclass(frozen=True, slots=True)
class SettingsInForce:
    """What a run of an executor is told: its settings, and what its template asks of the platform."""

    settings_yaml: str
    export_format: str
    shm_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ListedExecutor:
    """An executor with what people want to see beside it."""

    executor: Executor
    unavailable_reason: str
    """Why no connected worker can run it; empty when one can."""
    project_name: str = ""
    mining_name: str = ""
    inference_name: str = ""


class ExecutorService:
    """Lists executors, chooses one for a task, and checks what people set for it.

    Args:
        store: Where the registered ones stand.
        shipped: Those that come with the platform.
        terms: When a worker counts as silent.
    """

    def __init__(self, store: Store, *, shipped: Sequence[Executor], terms: LeaseTerms) -> None:
        self._store = store
        self._shipped: Mapping[str, Executor] = {executor.name: executor for executor in shipped}
        self._terms = terms

    def is_shipped(self, name: str) -> bool:
        """Says whether an executor of that name comes with the platform."""
        return name in self._shipped

    async def list(
        self, principal: Principal, *, project: str = "", public_only: bool = False
    ) -> Sequence[ListedExecutor]:
        """Returns the executors by name: all that the caller may see, or those that a project can use."""
        async with self._store.snapshot() as tx:
            registered = await tx.executors.list()
            if project:
                inside = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
                registered = [one for one in registered if one.usable_in(inside)]
            else:
                registered = await _seen_by(tx, principal, registered)
            if public_only:
                known = {one.name: one for one in registered if one.public}
            else:
                known = {**self._shipped, **{one.name: one for one in registered}}
            return [await self._listed(tx, known[name]) for name in sorted(known)]

    async def get(self, principal: Principal, name_or_id: str) -> ListedExecutor:
        """Returns one executor that the caller may see."""
        async with self._store.snapshot() as tx:
            found = await self.find(tx, name_or_id)
            if not self.is_shipped(found.name) and not await _seen_by(tx, principal, [found]):
                raise await self._not_found(tx, name_or_id, principal=principal)
            return await self._listed(tx, found)

    async def shown(self, executor_id: str) -> ListedExecutor:
        """Returns an executor as it stands now."""
        async with self._store.snapshot() as tx:
            return await self._listed(tx, await self.find(tx, executor_id))

    async def find(self, tx: Transaction, name_or_id: str, *, project_id: str | None = None) -> Executor:
        """Returns the executor of that name or id, if need be only one that a project may use, or NotFoundError."""
        found = self._shipped.get(name_or_id) or await tx.executors.find(name_or_id)
        if found is None:
            raise await self._not_found(tx, name_or_id, project_id=project_id)
        if project_id is not None and not found.usable_in(project_id):
            message = (
                f"executor {found.name} belongs to another project; ask an administrator for "
                f"`lode executor share {found.name}`"
            )
            raise NotFoundError("EXECUTOR_NOT_FOUND", message, name=name_or_id)
        return found if project_id is None else found.for_type(await _object_type(tx, project_id))

    async def choose(
        self,
        tx: Transaction,
        name: str,
        *,
        project_id: str,
        operation: ExecutorOperation,
        trained_by: str,
        runs_here: bool,
        default: str,
    ) -> Executor:
        """Returns the executor that mines or infers with a model.

        The one that is named; else the one associated with the executor that trained the model; else that one itself,
        where it can and the model is in no form that the platform runs; else the default.
        """
        if name:
            return await self.find(tx, name, project_id=project_id)
        trainer = None if not trained_by or self.is_shipped(trained_by) else await tx.executors.find(trained_by)
        if trainer is not None:
            associated = trainer.mining_id if operation is ExecutorOperation.MINE else trainer.inference_id
            if associated:
                return await self.find(tx, associated, project_id=project_id)
            if not runs_here and trainer.can(operation) and trainer.usable_in(project_id):
                return await self.find(tx, trainer.id, project_id=project_id)
        return await self.find(tx, default)

    def in_force(self, executor: Executor, operation: ExecutorOperation, settings_yaml: str) -> SettingsInForce:
        """Returns the settings of a run: the template's with the given ones over them, checked; or InvalidError."""
        template = read_template(executor.template(operation))
        try:
            given = parse_config(settings_yaml, file="settings") if settings_yaml.strip() else {}
        except FormatError as error:
            raise InvalidError("SETTING_INVALID", str(error), field="settings") from error
        check = SettingsCheck(executor.name, template, reserved=frozenset(RESERVED_KEYS))
        return SettingsInForce(
            settings_yaml=render_config(check.settings(given)),
            export_format=str(template.get("export_format") or DEFAULT_EXPORT_FORMAT),
            shm_bytes=executor.policy.shm_bytes or _shm_bytes(template),
        )

    async def _listed(self, tx: Transaction, executor: Executor) -> ListedExecutor:
        known = [
            Candidate(worker, worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s) is WorkerState.ONLINE, gpus=0)
            for worker in await tx.workers.list()
        ]
        able = any(one.online and executor.requires in one.worker.capabilities.names for one in known)
        reason = "" if able else waiting_reason(Wants(frozenset({executor.requires})), known)
        project = await tx.projects.find(executor.project_id) if executor.project_id else None
        return ListedExecutor(
            executor,
            reason,
            project_name="" if project is None else project.name,
            mining_name=await self._name(tx, executor.mining_id),
            inference_name=await self._name(tx, executor.inference_id),
        )

    async def _name(self, tx: Transaction, name_or_id: str) -> str:
        found = self._shipped.get(name_or_id) or (await tx.executors.find(name_or_id) if name_or_id else None)
        return "" if found is None else found.name

    async def _not_found(
        self, tx: Transaction, name: str, *, project_id: str | None = None, principal: Principal | None = None
    ) -> NotFoundError:
        registered = await tx.executors.list()
        if principal is not None:
            registered = await _seen_by(tx, principal, registered)
        names = sorted(
            {*self._shipped, *(one.name for one in registered if project_id is None or one.usable_in(project_id))}
        )
        message = f"there is no executor {name!r}; there are: {', '.join(names) or 'none'}"
        return NotFoundError("EXECUTOR_NOT_FOUND", message, name=name)


def policy_spec(executor: Executor) -> dict[str, Any]:
    """Returns what a task's spec says of its executor's policy."""
    policy = executor.policy
    return {"network": policy.network, "user": policy.user, "out_bytes": policy.out_bytes}


def run_policy(spec: Mapping[str, Any]) -> RunPolicy:
    """Returns the policy of a run from its task's spec."""
    return RunPolicy(**spec.get("policy", {}))


def resources_of(executor: Executor, in_force: SettingsInForce | None, *, gpus: int = 0) -> Resources:
    """Returns what a run of an executor holds, by its policy and its template."""
    shm_bytes = executor.policy.shm_bytes if in_force is None else in_force.shm_bytes
    return Resources(gpus=gpus, memory_bytes=executor.policy.memory_bytes, shm_bytes=shm_bytes)


def read_template(text: str) -> dict[str, object]:
    """Returns a template's keys with their defaults, or raises InvalidError TEMPLATE_INVALID."""
    try:
        return dict(parse_config(text, file="template")) if text.strip() else {}
    except FormatError as error:
        raise InvalidError("TEMPLATE_INVALID", str(error), field="templates") from error


def _shm_bytes(template: Mapping[str, object]) -> int:
    told = template.get("shm_size")
    try:
        return parse_size(str(told)) if told else 0
    except FormatError as error:
        raise InvalidError("TEMPLATE_INVALID", f"shm_size of the template: {error}", field="templates") from error


async def _object_type(tx: Transaction, project_id: str) -> int:
    """Returns the number that the executor protocol has for what a project's models find."""
    return _OBJECT_TYPES[(await tx.projects.get(project_id)).object_type]


async def _seen_by(tx: Transaction, principal: Principal, executors: Sequence[Executor]) -> Sequence[Executor]:
    """Returns those that a person may see: public ones, the installation's, and those of the person's projects."""
    if principal.is_administrator:
        return executors
    mine = {one.id for one in await tx.projects.list(user_id=principal.user_id, limit=_MOST_PROJECTS)}
    return [one for one in executors if one.usable_in("") or one.project_id in mine]
