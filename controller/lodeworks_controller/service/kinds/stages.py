"""What a run leaves of a model: stages with their files, and the version that gets them."""

import json
from collections.abc import Sequence
from typing import Any

from lodeworks_controller.domain.lineage import DATASET_VERSION, MODEL_VERSION, Edge, Node
from lodeworks_controller.domain.model import ModelState, ModelVersion, Stage, StageFile
from lodeworks_controller.domain.task.run import Output, OutputSlot
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef
from lodeworks_controller.errors import BadOutputError, LodeworksError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.kinds.base import Product
from lodeworks_controller.service.store import Transaction

RESULT = "result"
CHECKPOINT = "checkpoint"
_STAGE = "stage/"
_MAX_RESULT_BYTES = 8 << 20
_STAGE_PARTS = 3
RESULT_SLOT = OutputSlot(RESULT, required=True, max_bytes=_MAX_RESULT_BYTES)
STAGE_SLOT = OutputSlot("stage/*")


class StageIntake:
    """Reads results and keeps versions."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def result(self, outputs: Sequence[Output]) -> dict[str, Any]:
        """Returns the result as the worker told it: best_stage_name, and stages with name, files, scores."""
        found = next((output for output in outputs if output.role == RESULT), None)
        if found is None:
            raise BadOutputError("the training left no result", file="result.yaml")
        try:
            told = json.loads(await self._blobs.read(found.digest, limit=_MAX_RESULT_BYTES))
            return {**told, "best_stage_name": str(told["best_stage_name"]), "stages": list(told["stages"])}
        except (ValueError, KeyError, TypeError) as error:
            raise BadOutputError(f"the result of the training cannot be read ({error})", file="result.yaml") from error

    async def complete(self, tx: Transaction, version: ModelVersion, outputs: Sequence[Output], told: Any) -> Product:
        """Makes the version READY with the stages of the result."""
        stages = stages_of(told, outputs)
        ready = version.ready(stages, recommended=_recommended(told, stages))
        return await self._keep(tx, ready, outputs)

    async def end_early(
        self, tx: Transaction, version: ModelVersion, outputs: Sequence[Output], reason: FailureReason
    ) -> Product:
        """Makes the version PARTIAL with the stages written so far, FAILED without any."""
        if version.state is not ModelState.CREATING:
            return None
        try:
            # One small file of our own store, read here so that what is kept and why is one decision.
            told = await self.result(outputs)
            stages = stages_of(told, outputs)
        except LodeworksError:
            told, stages = {}, ()
        recommended = _recommended(told, stages) if stages else ""
        ended = version.end_early(stages, recommended=recommended, failure=f"its task ended early ({reason.value})")
        if stages:
            return await self._keep(tx, ended, outputs)
        await tx.models.put_version(ended)
        return None

    async def _keep(self, tx: Transaction, version: ModelVersion, outputs: Sequence[Output]) -> Product:
        await tx.models.put_version(version)
        kept = [output.digest for output in outputs if output.role != CHECKPOINT]
        await tx.blobs.reference(project_scope(version.project_id), kept)
        node = Node(MODEL_VERSION, version.id)
        made_of = (("train", version.training.train_version_id), ("val", version.training.val_version_id))
        await tx.lineage.add([Edge(Node(DATASET_VERSION, source), node, role) for role, source in made_of if source])
        return ObjectRef(MODEL_VERSION, version.id, version.full_name)


def stages_of(told: dict[str, Any], outputs: Sequence[Output]) -> tuple[Stage, ...]:
    """Returns the stages with their files, or raises BadOutputError for one whose file did not come back."""
    files: dict[tuple[str, str], StageFile] = {}
    for output in outputs:
        parts = output.role.split("/")
        if output.role.startswith(_STAGE) and len(parts) == _STAGE_PARTS:
            files[parts[1], parts[2]] = StageFile(parts[2], output.digest, output.size_bytes)
    try:
        return tuple(_stage(one, files) for one in told["stages"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadOutputError(f"the result names a stage that cannot be read ({error})", file="result.yaml") from error


def _stage(told: dict[str, Any], files: dict[tuple[str, str], StageFile]) -> Stage:
    name = str(told["name"])
    found = []
    for file_name in told["files"]:
        if (name, file_name) not in files:
            raise BadOutputError(f"stage {name!r} names {file_name!r}, which did not come back", file="result.yaml")
        found.append(files[name, file_name])
    metrics = {str(key): float(value) for key, value in told.get("scores", {}).items()}
    return Stage(name, tuple(found), metrics)


def _recommended(told: dict[str, Any], stages: Sequence[Stage]) -> str:
    best = told.get("best_stage_name", "")
    return best if any(stage.name == best for stage in stages) else stages[-1].name
