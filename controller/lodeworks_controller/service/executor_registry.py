"""What people change about executors: register, remove, rename, share, copy, associate, bound."""

from collections.abc import Mapping
from dataclasses import replace

from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_manual import DETECTION, ImageManual
from lodeworks_formats.protocol import ExportFormat

from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation, ExecutorPolicy
from lodeworks_controller.domain.identity import Principal, ProjectRole, check_name
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.errors import ConflictError, ExistsError, InvalidError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.executor import ExecutorService, read_template
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task_rows import TaskFilter

_MOST_TASKS = 10_000


class ExecutorRegistry:
    """Changes the registered executors; each call answers the id of what it changed.

    Args:
        store: Where they stand.
        executors: Finds them.
        ids: Makes ids.
    """

    def __init__(self, store: Store, *, executors: ExecutorService, ids: Ids) -> None:
        self._store = store
        self._executors = executors
        self._ids = ids

    async def add(
        self,
        principal: Principal,
        name: str,
        *,
        image: str,
        templates: Mapping[ExecutorOperation, str],
        project: str = "",
        request_id: str = "",
    ) -> str:
        """Registers a docker image by the contents of its /img-man, or without an image a program of the workers."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.add", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            await self.require_free(tx, name)
            if not templates:
                raise InvalidError(
                    "TEMPLATE_INVALID", "the settings template of at least one operation is needed", field="templates"
                )
            for text in templates.values():
                _check_template(text)
            executor = Executor(
                self._ids(),
                name,
                ExecutorKind.IMAGE if image else ExecutorKind.PROCESS,
                dict(templates),
                tx.now(),
                image=image,
                reference=image,
                project_id=(await enter(tx, principal, project, ProjectRole.EDITOR)).id if project else "",
                by_type={DETECTION: dict(templates)},
            )
            await tx.executors.insert(executor)
            await once.keep(tx, executor.id)
            await tx.audit.add("executor.add", executor.id, actor=principal.actor, detail={"image": image})
            return executor.id

    async def require_free(self, tx: Transaction, name: str) -> None:
        """Refuses a name that no executor may get."""
        if self._executors.is_shipped(check_name(name)):
            raise ExistsError("EXECUTOR_EXISTS", f"the platform has an executor {name} of its own", name=name)
        if await tx.executors.find(name) is not None:
            message = f"there is an executor named {name} already; choose another name"
            raise ExistsError("EXECUTOR_EXISTS", message, name=name)

    async def delete(self, principal: Principal, name_or_id: str, *, request_id: str = "") -> None:
        """Removes a registered executor that nothing uses."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.delete", request_id)
            if await once.result(tx) is not None:
                return
            executor = await self._own(tx, name_or_id)
            await _require_unused(tx, executor)
            await tx.executors.delete(executor.id)
            await once.keep(tx, executor.id)
            await tx.audit.add("executor.delete", executor.id, actor=principal.actor, detail={"name": executor.name})

    async def set_policy(self, principal: Principal, name_or_id: str, policy: ExecutorPolicy) -> str:
        """Sets the bounds of an executor's runs; tasks in hand keep theirs."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            executor = await self._own(tx, name_or_id)
            return await self._put(tx, principal, replace(executor, policy=policy.check()), action="executor.policy")

    async def associate(
        self, principal: Principal, name_or_id: str, *, mining: str | None = None, inference: str | None = None
    ) -> str:
        """Names who mines and infers with what an executor trained; None leaves it, an empty name takes it away."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            executor = await self._own(tx, name_or_id)
            executor.template(ExecutorOperation.TRAIN)
            if mining is not None:
                executor = replace(executor, mining_id=await self._able(tx, mining, ExecutorOperation.MINE))
            if inference is not None:
                executor = replace(executor, inference_id=await self._able(tx, inference, ExecutorOperation.INFER))
            return await self._put(tx, principal, executor, action="executor.associate")

    async def share(self, principal: Principal, name_or_id: str, *, public: bool) -> str:
        """Makes an executor usable in every project, or in its own alone again."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            executor = await self._own(tx, name_or_id)
            action = "executor.share" if public else "executor.unshare"
            return await self._put(tx, principal, replace(executor, public=public), action=action)

    async def copy(
        self, principal: Principal, name_or_id: str, *, name: str, project: str, request_id: str = ""
    ) -> str:
        """Copies an executor that a project may use into it, under a name of its own."""
        async with self._store.transaction() as tx:
            target = await enter(tx, principal, project, ProjectRole.EDITOR)
            once = Once(principal.actor, "executor.copy", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            # Whoever is refused is told no names but those of executors that the project may use.
            source = await self._own(tx, name_or_id, project_id=target.id)
            await self.require_free(tx, name)
            copy_id = self._ids()
            copied = replace(
                source,
                id=copy_id,
                name=name,
                project_id=target.id,
                public=False,
                created_at=tx.now(),
                mining_id=copy_id if source.mining_id == source.id else source.mining_id,
                inference_id=copy_id if source.inference_id == source.id else source.inference_id,
            )
            await tx.executors.insert(copied)
            await once.keep(tx, copied.id)
            await tx.audit.add("executor.copy", copied.id, actor=principal.actor, detail={"from": source.id})
            return copied.id

    async def rename(self, principal: Principal, name_or_id: str, *, name: str, request_id: str = "") -> str:
        """Gives an executor another name."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.rename", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            executor = await self._own(tx, name_or_id)
            if check_name(name) != executor.name:
                await self.require_free(tx, name)
            await once.keep(tx, executor.id)
            return await self._put(tx, principal, replace(executor, name=name), action="executor.rename")

    async def _own(self, tx: Transaction, name_or_id: str, *, project_id: str | None = None) -> Executor:
        executor = await self._executors.find(tx, name_or_id, project_id=project_id)
        if self._executors.is_shipped(executor.name):
            message = f"executor {executor.name} belongs to the platform and stays as it is"
            raise ConflictError("EXECUTOR_SHIPPED", message)
        return await self._executors.find(tx, executor.id)

    async def _able(self, tx: Transaction, name_or_id: str, operation: ExecutorOperation) -> str:
        if not name_or_id:
            return ""
        found = await self._executors.find(tx, name_or_id)
        found.template(operation)
        return found.id

    async def _put(self, tx: Transaction, principal: Principal, executor: Executor, *, action: str) -> str:
        await tx.executors.put(executor)
        await tx.audit.add(action, executor.id, actor=principal.actor, detail={"name": executor.name})
        return executor.id


def executor_of_image(
    executor_id: str, name: str, manual: ImageManual, *, pinned: str, reference: str, project_id: str, tx: Transaction
) -> Executor:
    """Returns the executor that an image's /img-man tells, for the first object type that it handles."""
    by_type = {
        kind: {ExecutorOperation(operation): text for operation, text in texts.items()}
        for kind, texts in manual.templates.items()
    }
    object_type = DETECTION if DETECTION in by_type else manual.object_types[0]
    for text in by_type[object_type].values():
        _check_template(text)
    return Executor(
        executor_id,
        name,
        ExecutorKind.IMAGE,
        by_type[object_type],
        tx.now(),
        image=pinned,
        object_type=object_type,
        project_id=project_id,
        reference=reference,
        by_type=by_type,
    )


def _check_template(text: str) -> None:
    template = read_template(text)
    try:
        ExportFormat.parse(str(template.get("export_format") or "voc:raw"))
    except FormatError as error:
        raise InvalidError("TEMPLATE_INVALID", f"template: {error}", field="templates") from error


async def _require_unused(tx: Transaction, executor: Executor) -> None:
    associated = [
        one.name
        for one in await tx.executors.list()
        if one.id != executor.id and executor.id in {one.mining_id, one.inference_id}
    ]
    if associated:
        names = ", ".join(associated)
        message = (
            f"executor {executor.name} mines or infers for: {names}; choose another there with "
            f"`lode executor associate {associated[0]}`"
        )
        raise ConflictError("EXECUTOR_IN_USE", message)
    living = frozenset(state for state in TaskState if not state.final)
    using = [
        task.id
        for task in await tx.tasks.list(TaskFilter(states=living, limit=_MOST_TASKS))
        if task.spec.get("executor_id") == executor.id or task.spec.get("executor") == executor.name
    ]
    if using:
        message = f"executor {executor.name} is used by: {', '.join(using)}; cancel them or wait"
        raise ConflictError("EXECUTOR_IN_USE", message)
