"""Images of executors: fetched, read and proved by workers, as tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_check import CheckReport
from lodeworks_formats.protocol import RESERVED_KEYS, parse_config
from lodeworks_formats.task_inputs import REPORT, ImageOptions

from lodeworks_controller.domain.executor import Executor, ExecutorKind, check_image
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.task.run import Limits, Resources
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.executor import ExecutorService
from lodeworks_controller.service.executor_registry import ExecutorRegistry
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService

PULL: Final = "pull"
CHECK: Final = "check"
EXECUTOR: Final = "executor"
_DEFAULT_PROJECT = "default"
_RUN_TIMEOUT_S = 600
_MOST_RUNS = 12
_MAX_REPORT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class CheckWish:
    """Which image is proved, how; empty values mean the defaults."""

    image: str
    settings_yaml: str = ""
    project: str = ""
    run_timeout_s: int = 0
    gpus: int = 0


class ImageService:
    """Makes the tasks that fetch and prove images."""

    def __init__(
        self,
        store: Store,
        *,
        blobs: BlobStore,
        tasks: TaskService,
        executors: ExecutorService,
        registry: ExecutorRegistry,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._executors = executors
        self._registry = registry

    async def add(self, principal: Principal, name: str, *, image: str, project: str = "", request_id: str = "") -> str:
        """Makes the task whose end registers an image under a name; returns its id."""
        require_administrator(principal)
        image = check_image(image)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.add", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            await self._registry.require_free(tx, name)
            inside = (await enter(tx, principal, project or _DEFAULT_PROJECT, ProjectRole.EDITOR)).id
            spec = {"name": name, "options": _options(image), "project_id": inside if project else ""}
            task = await self._tasks.submit(tx, _pull(principal, inside, f"read {image}", spec))
            await once.keep(tx, task.id)
            return task.id

    async def pull(
        self, principal: Principal, name_or_id: str, *, newest: bool, project: str = "", request_id: str = ""
    ) -> str:
        """Makes the task that fetches an executor's image; returns its id."""
        require_administrator(principal)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.pull", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            executor = await self._executors.find(tx, name_or_id)
            if executor.kind is not ExecutorKind.IMAGE:
                message = f"executor {executor.name} is no image; there is nothing to pull"
                raise ConflictError("EXECUTOR_NO_IMAGE", message)
            inside = (await enter(tx, principal, project or _DEFAULT_PROJECT, ProjectRole.EDITOR)).id
            image = (executor.reference or executor.image) if newest else executor.image
            spec = {"executor_id": executor.id, "newest": newest, "options": _options(image, newest=newest)}
            task = await self._tasks.submit(tx, _pull(principal, inside, f"pull {image}", spec))
            await once.keep(tx, task.id)
            return task.id

    async def check(self, principal: Principal, wish: CheckWish, *, request_id: str = "") -> str:
        """Makes the task that proves an image against the protocol; returns its id."""
        require_administrator(principal)
        if wish.run_timeout_s < 0 or wish.gpus < 0:
            message = "seconds and GPUs are numbers from 0"
            raise InvalidError("RESOURCES_INVALID", message, field="gpus" if wish.gpus < 0 else "run_timeout_s")
        _check_settings(wish.settings_yaml)
        async with self._store.transaction() as tx:
            once = Once(principal.actor, "executor.check", request_id)
            made = await once.result(tx)
            if made is not None:
                return made
            inside = (await enter(tx, principal, wish.project or _DEFAULT_PROJECT, ProjectRole.EDITOR)).id
            options = await self._check_options(tx, wish)
            task = await self._tasks.submit(
                tx,
                NewTask(
                    kind=CHECK,
                    project_id=inside,
                    title=f"check {options.reference}",
                    spec={"options": options.to_bytes().decode()},
                    created_by=principal.user_id,
                    requires=frozenset({"builtin:check"}),
                    resources=Resources(gpus=wish.gpus),
                    limits=Limits(run_timeout_s=float(_MOST_RUNS * options.run_timeout_s)),
                ),
            )
            await once.keep(tx, task.id)
            return task.id

    async def report(self, principal: Principal, task_id: str) -> CheckReport:
        """Returns what a check found."""
        require_administrator(principal)
        task = await self._tasks.get(principal, task_id)
        if task.kind != CHECK or task.state is not TaskState.SUCCEEDED:
            message = (
                f"task {task_id} is a {task.kind} and {task.state.value}; only a check that succeeded has a report"
            )
            raise ConflictError("CHECK_NOT_DONE", message)
        async with self._store.snapshot() as tx:
            outputs = await tx.tasks.outputs(task.id, task.lease.epoch)
        digest = next(output.digest for output in outputs if output.role == REPORT)
        return CheckReport.from_bytes(await self._blobs.read(digest, limit=_MAX_REPORT_BYTES))

    async def _check_options(self, tx: Transaction, wish: CheckWish) -> ImageOptions:
        found = await tx.executors.find(wish.image)
        policy = Executor("", "", ExecutorKind.IMAGE, {}, tx.now()).policy if found is None else found.policy
        return ImageOptions(
            reference=found.image if found is not None and found.image else check_image(wish.image),
            run_timeout_s=wish.run_timeout_s or _RUN_TIMEOUT_S,
            settings_yaml=wish.settings_yaml,
            network=policy.network,
            user=policy.user,
            memory_bytes=policy.memory_bytes,
            shm_bytes=policy.shm_bytes,
        )


def _options(image: str, *, newest: bool = False) -> str:
    return ImageOptions(reference=image, newest=newest).to_bytes().decode()


def _pull(principal: Principal, project_id: str, title: str, spec: Mapping[str, object]) -> NewTask:
    executor_id = str(spec.get("executor_id", ""))
    return NewTask(
        kind=PULL,
        project_id=project_id,
        title=title,
        spec=spec,
        created_by=principal.user_id,
        requires=frozenset({"builtin:pull"}),
        subject=ObjectRef(EXECUTOR, executor_id) if executor_id else None,
    )


def _check_settings(text: str) -> None:
    try:
        given = parse_config(text, file="settings") if text.strip() else {}
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", str(error), field="settings") from error
    if taken := sorted(set(given) & set(RESERVED_KEYS)):
        raise InvalidError("SETTING_INVALID", f"setting {taken[0]!r} is made by the platform", field="settings")
