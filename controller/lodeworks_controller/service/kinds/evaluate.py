"""The kind `evaluate`: ground truth and predictions in, summary, match table and report out."""

import json
from collections.abc import Sequence
from typing import Any, Final

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.protocol import render_config
from lodeworks_formats.task_inputs import EvaluateOptions

from lodeworks_controller.domain.evaluation import EvaluationState, Findings
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.prediction_set import PredictionSet
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.labelled import require_annotated
from lodeworks_controller.service.measuring import EVALUATE, EVALUATION
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.view import ViewService

WITH_PICTURES: Final = "diagnose"
"""The same measuring, with the pictures at hand for the crops of the report."""

_MOST_PICTURES_SHOWN = 5_000
_MAX_SUMMARY_BYTES = 16 << 20
_NEEDED = (roles.SUMMARY, roles.MATCH_TABLE, roles.REPORT_HTML)


class EvaluateKind:
    """Evaluations."""

    name = EVALUATE

    def __init__(self, store: Store, *, blobs: BlobStore, views: ViewService) -> None:
        self._store = store
        self._blobs = blobs
        self._views = views

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: one view holds the ground truth and the predictions."""
        spec = task.spec
        async with self._store.transaction() as tx:
            evaluation = await tx.evaluations.get(spec["evaluation_id"])
            if evaluation.state is EvaluationState.FAILED:
                await tx.evaluations.put(evaluation.again())  # the task is tried again
            require_annotated(await tx.datasets.version(spec["dataset_version_id"]))
            predicted = await _prediction_set(tx, spec)
        view = await self._views.resolve(
            spec["dataset_version_id"],
            selection=ClassSelection(tuple(spec["class_names"])),
            revision=spec["class_revision"],
            prediction_set_id=predicted.id,
        )
        options = EvaluateOptions(class_names=tuple(spec["class_names"]), protocol=spec["protocol"])
        names = {"model_name": _model_name(spec["model"]), "dataset_name": evaluation.sides.dataset_name}
        return RunSpec(
            executor="builtin:evaluate",
            operations=(WITH_PICTURES if view.pictures <= _MOST_PICTURES_SHOWN else EVALUATE,),
            class_names=tuple(spec["class_names"]),
            settings_yaml=render_config(names),
            inputs=(
                Input(roles.VIEW, view.digest, view.size_bytes),
                Input(roles.PREDICTIONS, view.digest, view.size_bytes),
                await options_input(self._blobs, options.to_bytes()),
            ),
            outputs=tuple(OutputSlot(role, required=True) for role in _NEEDED),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks the summary; the evaluation becomes READY."""
        found = {output.role: output.digest for output in outputs if output.role in _NEEDED}
        for role in _NEEDED:
            if role not in found:
                raise BadOutputError(f"the evaluation left no {role}", file=role)
        summary = await self._summary(found[roles.SUMMARY])
        findings = Findings(summary, found[roles.MATCH_TABLE], found[roles.REPORT_HTML])
        async with self._store.snapshot() as tx:
            predicted = await _prediction_set(tx, task.spec)

        async def commit(tx: Transaction) -> Product:
            evaluation = await tx.evaluations.get(task.spec["evaluation_id"])
            await tx.evaluations.put(evaluation.ready(findings, prediction_set_id=predicted.id))
            await tx.blobs.reference(project_scope(task.project_id), found.values())
            sides = evaluation.sides
            return ObjectRef(EVALUATION, evaluation.id, f"{sides.model_name} on {sides.dataset_name}")

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the evaluation FAILED."""
        del outputs
        evaluation = await tx.evaluations.get(task.spec["evaluation_id"])
        await tx.evaluations.put(evaluation.fail(f"its task ended early ({reason.value})"))
        return None

    async def _summary(self, digest: str) -> dict[str, Any]:
        try:
            summary = json.loads(await self._blobs.read(digest, limit=_MAX_SUMMARY_BYTES))
            if isinstance(summary, dict) and isinstance(summary["per_class"], dict):
                return summary
        except (ValueError, KeyError) as error:
            raise BadOutputError(f"the summary cannot be read ({error})", file=roles.SUMMARY) from error
        raise BadOutputError("the summary is no JSON object with figures by class", file=roles.SUMMARY)


async def _prediction_set(tx: Transaction, spec: Any) -> PredictionSet:
    model = spec["model"]
    found = await tx.prediction_sets.find(
        version_id=spec["dataset_version_id"],
        model_key=model["key"],
        settings_digest=spec["settings_digest"],
        variant=model["variant"],
    )
    if found is None:
        message = f"the predictions of {model['model_name']} were deleted meanwhile; evaluate again"
        raise NotFoundError("PREDICTION_SET_NOT_FOUND", message)
    return found


def _model_name(model: Any) -> str:
    return f"{model['model_name']} ({model['variant']})" if model["variant"] else str(model["model_name"])
