"""The kind `mine`: a view and a model in, scores out; the best become a dataset version."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import MineOptions

from lodeworks_controller.domain.dataset import VersionState
from lodeworks_controller.domain.executor import DETECTION
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.dataset_versions import Filled, fill_version, manifest_of
from lodeworks_controller.service.executor import run_policy
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.mining import BUILTIN_MINE, MINE
from lodeworks_controller.service.model_use import files_of
from lodeworks_controller.service.run_files import options_input, required_output
from lodeworks_controller.service.segments import Segments, load_manifest, store_manifest
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.view import ViewService


class MineKind:
    """Minings."""

    name = MINE

    def __init__(self, store: Store, *, blobs: BlobStore, views: ViewService, segments: Segments) -> None:
        self._store = store
        self._blobs = blobs
        self._views = views
        self._segments = segments

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: the candidates without boxes, the model if there is one, the options."""
        spec = task.spec
        view = await self._views.resolve(spec["dataset_version_id"], selection=ClassSelection(()))
        inputs = [Input(roles.CANDIDATE, view.digest, view.size_bytes)]
        inputs += [Input(*file) for file in (files_of(spec["model"]) if spec["model"] else ())]
        if spec["executor"] == BUILTIN_MINE:
            inputs.append(await options_input(self._blobs, MineOptions(**spec["options"]).to_bytes()))
        return RunSpec(
            executor=spec["run"],
            operations=(MINE,),
            class_names=tuple(spec["model"]["class_names"]) if spec["model"] else (),
            settings_yaml=spec["settings_yaml"],
            inputs=tuple(inputs),
            outputs=(OutputSlot(roles.SCORES, required=True),),
            resources=task.resources,
            limits=task.limits,
            export_format=spec["export_format"],
            object_type=spec.get("object_type", DETECTION),
            policy=run_policy(spec),
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Takes the best pictures, equal ones by digest; a dataset with fewer than asked for gives them all."""
        found = required_output(outputs, roles.SCORES, of="the mining")
        location = await self._blobs.locate(found.digest)
        digests = await asyncio.to_thread(best_digests, location.path, top_k=task.spec["top_k"])
        async with self._store.snapshot() as tx:
            source = await tx.datasets.version(task.spec["dataset_version_id"])
            target = await tx.datasets.version(task.spec["target_version_id"])
        manifest = await load_manifest(self._blobs, source.require_content().manifest_digest)
        derived = await self._segments.select(manifest, digests)
        if derived.statistics.pictures != len(digests):
            missing = len(digests) - derived.statistics.pictures
            raise BadOutputError(f"{missing} of the scored pictures are not in the dataset", file=roles.SCORES)
        made = manifest_of(
            derived,
            object_type=source.object_type.value,
            operation=target.making.operation,
            parents=[source],
            parameters=target.making.parameters,
            seed=target.making.seed,
            class_revision=source.class_revision,
        )
        filled = Filled(made, await store_manifest(self._blobs, made), derived)

        async def commit(tx: Transaction) -> Product:
            now = await tx.datasets.version(target.id)
            if now.state is VersionState.FAILED:
                now = target
            ready = await fill_version(tx, now, filled, class_revision=source.class_revision)
            return ObjectRef("dataset_version", ready.id, ready.full_name)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the version FAILED."""
        del outputs
        version = await tx.datasets.version(task.spec["target_version_id"])
        await tx.datasets.put_version(version.fail(f"its mining ended early ({reason.value})"))
        return None


def best_digests(scores: Path, *, top_k: int) -> list[str]:
    """Returns the pictures of highest score, equal ones by digest; raises BadOutputError for a broken file."""
    from lodeworks_formats.segments import read_scores  # noqa: PLC0415 - an idle controller has no pyarrow

    try:
        pairs = list(read_scores(scores))
    except (FormatError, OSError, ValueError) as error:
        raise BadOutputError(f"the scores cannot be read ({error})", file=roles.SCORES) from error
    best = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:top_k]
    if len({digest for digest, _ in best}) != len(best):
        raise BadOutputError("a picture is scored twice", file=roles.SCORES)
    return [digest for digest, _ in best]
