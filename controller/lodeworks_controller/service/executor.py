"""Executors: those that come with the platform and those that people registered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import RESERVED_KEYS, parse_config, render_config

from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation, SettingsCheck
from lodeworks_controller.domain.identity import Principal, check_name
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.lane import Wants
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.placement import Candidate, waiting_reason
from lodeworks_controller.domain.worker import WorkerState
from lodeworks_controller.errors import ConflictError, ExistsError, InvalidError, NotFoundError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task_rows import TaskFilter

DEFAULT_TRAINER: Final = "detector"
DEFAULT_EXPORT_FORMAT: Final = "voc:raw"


class ExecutorRows(Protocol):
    """The executors that people registered, as one transaction sees them. No method commits."""

    async def find(self, name_or_id: str) -> Executor | None:
        """Returns the executor of that name or id."""
        ...

    async def insert(self, executor: Executor) -> None:
        """Stores a new executor; raises ExistsError if the name is taken."""
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


@dataclass(frozen=True, slots=True)
class ListedExecutor:
    """An executor, and why no connected worker can run it (empty when one can)."""

    executor: Executor
    unavailable_reason: str


class ExecutorService:
    """Lists executors and checks what people set for them.

    Args:
        store: Where the registered ones stand.
        shipped: Those that come with the platform.
        terms: When a worker counts as silent.
        ids: Makes ids.
    """

    def __init__(self, store: Store, *, shipped: Sequence[Executor], terms: LeaseTerms, ids: Ids) -> None:
        self._store = store
        self._shipped: Mapping[str, Executor] = {executor.name: executor for executor in shipped}
        self._terms = terms
        self._ids = ids

    async def list(self) -> Sequence[ListedExecutor]:
        """Returns all executors by name."""
        async with self._store.snapshot() as tx:
            known = {**self._shipped, **{executor.name: executor for executor in await tx.executors.list()}}
            return [await self._listed(tx, known[name]) for name in sorted(known)]

    async def get(self, name_or_id: str) -> ListedExecutor:
        """Returns one executor."""
        async with self._store.snapshot() as tx:
            return await self._listed(tx, await self.find(tx, name_or_id))

    async def find(self, tx: Transaction, name_or_id: str) -> Executor:
        """Returns the executor of that name or id, or raises NotFoundError."""
        found = self._shipped.get(name_or_id) or await tx.executors.find(name_or_id)
        if found is None:
            names = sorted({*self._shipped, *(executor.name for executor in await tx.executors.list())})
            message = f"there is no executor {name_or_id!r}; there are: {', '.join(names) or 'none'}"
            raise NotFoundError("EXECUTOR_NOT_FOUND", message, name=name_or_id)
        return found

    async def add(
        self,
        principal: Principal,
        name: str,
        *,
        image: str,
        templates: Mapping[ExecutorOperation, str],
        request_id: str = "",
    ) -> Executor:
        """Registers a docker image by the contents of its /img-man."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.add", request_id)
            made = await once.result(tx)
            if made is not None:
                return await self.find(tx, made)
            if check_name(name) in self._shipped:
                raise ExistsError("EXECUTOR_EXISTS", f"the platform has an executor {name} of its own", name=name)
            if not image or not templates:
                message = "an image and the settings template of at least one operation are needed"
                raise InvalidError("TEMPLATE_INVALID", message, field="templates")
            for text in templates.values():
                _template(text)
            executor = Executor(self._ids(), name, ExecutorKind.IMAGE, dict(templates), tx.now(), image=image)
            await tx.executors.insert(executor)
            await once.keep(tx, executor.id)
            await tx.audit.add("executor.add", executor.id, actor=principal.actor, detail={"image": image})
            return executor

    async def delete(self, principal: Principal, name_or_id: str, *, request_id: str = "") -> None:
        """Removes a registered executor that no task uses."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.delete", request_id)
            if await once.result(tx) is not None:
                return
            executor = await self.find(tx, name_or_id)
            if executor.name in self._shipped:
                raise ConflictError("EXECUTOR_SHIPPED", f"executor {executor.name} belongs to the platform")
            using = [
                task.id
                for task in await tx.tasks.list(TaskFilter(limit=1000))
                if not task.state.final and task.spec.get("executor") == executor.name
            ]
            if using:
                message = f"executor {executor.name} is used by: {', '.join(using)}; cancel them or wait"
                raise ConflictError("EXECUTOR_IN_USE", message)
            await tx.executors.delete(executor.id)
            await once.keep(tx, executor.id)
            await tx.audit.add("executor.delete", executor.id, actor=principal.actor)

    def in_force(self, executor: Executor, operation: ExecutorOperation, settings_yaml: str) -> SettingsInForce:
        """Returns the settings of a run: the template's with the given ones over them, checked; or InvalidError."""
        template = _template(executor.template(operation))
        try:
            given = parse_config(settings_yaml, file="settings") if settings_yaml.strip() else {}
        except FormatError as error:
            raise InvalidError("SETTING_INVALID", str(error), field="settings") from error
        check = SettingsCheck(executor.name, template, reserved=frozenset(RESERVED_KEYS))
        return SettingsInForce(
            settings_yaml=render_config(check.settings(given)),
            export_format=str(template.get("export_format", DEFAULT_EXPORT_FORMAT)),
        )

    async def _listed(self, tx: Transaction, executor: Executor) -> ListedExecutor:
        known = [
            Candidate(worker, worker.state(at=tx.now(), silent_after_s=self._terms.ttl_s) is WorkerState.ONLINE, gpus=0)
            for worker in await tx.workers.list()
        ]
        able = any(one.online and executor.requires in one.worker.capabilities.names for one in known)
        return ListedExecutor(executor, "" if able else waiting_reason(Wants(frozenset({executor.requires})), known))


def _template(text: str) -> dict[str, object]:
    """Returns a template's keys with their defaults, or raises InvalidError TEMPLATE_INVALID."""
    try:
        return dict(parse_config(text, file="template")) if text.strip() else {}
    except FormatError as error:
        raise InvalidError("TEMPLATE_INVALID", str(error), field="templates") from error
