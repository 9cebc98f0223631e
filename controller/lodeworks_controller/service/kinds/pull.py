"""The kind `pull`: a reference in, an executor registered or its image at hand on a worker."""

from collections.abc import Sequence
from dataclasses import replace

from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_manual import ImageManual, PulledImage, parse_image_manual
from lodeworks_formats.task_inputs import IMAGE

from lodeworks_controller.domain.executor import Executor
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.run import Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.executor_registry import ExecutorRegistry, executor_of_image
from lodeworks_controller.service.images import EXECUTOR, PULL
from lodeworks_controller.service.kinds.base import Commit, Product
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.store import Store, Transaction

_MAX_BYTES = 16 << 20


class PullKind:
    """Fetches of images."""

    name = PULL
    prepares_alone = True

    def __init__(self, store: Store, *, blobs: BlobStore, registry: ExecutorRegistry, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._registry = registry
        self._ids = ids

    async def prepare(self, task: Task) -> RunSpec:
        """Builds the run from the options alone."""
        return RunSpec(
            executor="builtin:pull",
            operations=(PULL,),
            inputs=(await options_input(self._blobs, str(task.spec["options"]).encode()),),
            outputs=(OutputSlot(IMAGE, required=True, max_bytes=_MAX_BYTES),),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Reads what the worker found; a new executor is registered, an old one pinned anew where that is wished."""
        found = required_output(outputs, IMAGE, of="the pull")
        try:
            image = PulledImage.from_bytes(await self._blobs.read(found.digest, limit=_MAX_BYTES))
            manual = parse_image_manual(image.files, image=image.reference)
        except FormatError as error:
            raise BadOutputError(error.message, file=error.file) from error

        async def commit(tx: Transaction) -> Product:
            executor = await self._registered(tx, task, image, manual)
            return ObjectRef(EXECUTOR, executor.id, executor.name)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Leaves nothing behind: what is not read is not registered."""
        del tx, task, outputs, reason
        return None

    async def _registered(self, tx: Transaction, task: Task, image: PulledImage, manual: ImageManual) -> Executor:
        spec = task.spec
        if "executor_id" not in spec:
            await self._registry.require_free(tx, spec["name"])
            made = _told(self._ids(), spec["name"], image, manual, project_id=spec["project_id"], tx=tx)
            await tx.executors.insert(made)
            actor = f"user:{task.created_by}"
            await tx.audit.add("executor.add", made.id, actor=actor, detail={"image": made.image})
            return made
        known = await tx.executors.find(spec["executor_id"])
        if known is None:
            raise NotFoundError("EXECUTOR_NOT_FOUND", "the executor was deleted meanwhile")
        if not spec["newest"]:
            return known
        told = _told(known.id, known.name, image, manual, project_id=known.project_id, tx=tx)
        changed = replace(
            known,
            image=told.image,
            templates=told.templates,
            by_type=told.by_type,
            object_type=told.object_type,
        )
        await tx.executors.put(changed)
        return changed


def _told(
    executor_id: str, name: str, image: PulledImage, manual: ImageManual, *, project_id: str, tx: Transaction
) -> Executor:
    return executor_of_image(
        executor_id,
        name,
        manual,
        pinned=image.pinned,
        reference=image.reference,
        project_id=project_id,
        tx=tx,
    )
