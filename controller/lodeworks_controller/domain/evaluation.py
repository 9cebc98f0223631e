"""Evaluations: how well a model's predictions agree with the labels of a dataset version."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from lodeworks_controller.errors import ConflictError


class EvaluationState(Enum):
    """Where an evaluation is in its life."""

    CREATING = "creating"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What stood on the two sides. The names are those of the time; ``variant`` is empty for the stage's own ONNX."""

    model_version_id: str
    model_name: str
    variant: str
    dataset_version_id: str
    dataset_name: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What an evaluation found: its summary and the blobs that hold the rest."""

    summary: Mapping[str, Any]
    match_table_digest: str
    report_digest: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One prediction set measured against one dataset version."""

    id: str
    project_id: str
    state: EvaluationState
    sides: Evaluated
    protocol: str
    created_by: str
    created_at: datetime
    prediction_set_id: str = ""
    task_id: str = ""
    findings: Findings | None = None
    warnings: tuple[str, ...] = field(default=())
    failure: str = ""

    def ready(self, findings: Findings, *, prediction_set_id: str) -> "Evaluation":
        """Returns the evaluation with what was found."""
        if self.state is not EvaluationState.CREATING:
            raise ConflictError(
                "EVALUATION_STATE", f"evaluation {self.id} is {self.state.value} and cannot become ready"
            )
        return replace(
            self, state=EvaluationState.READY, findings=findings, prediction_set_id=prediction_set_id, failure=""
        )

    def fail(self, failure: str) -> "Evaluation":
        """Returns the evaluation as failed; one that is READY stays so."""
        if self.state is not EvaluationState.CREATING:
            return self
        return replace(self, state=EvaluationState.FAILED, failure=failure)

    def again(self) -> "Evaluation":
        """Returns the evaluation as one in the making, when its task is tried again."""
        return replace(self, state=EvaluationState.CREATING, failure="", findings=None)

    def require_findings(self) -> Findings:
        """Returns what was found, or raises ConflictError while there is nothing."""
        if self.findings is not None:
            return self.findings
        if self.state is EvaluationState.FAILED:
            message = f"evaluation {self.id} was never finished: {self.failure or 'its task failed'}"
        else:
            message = f"evaluation {self.id} is still being made; wait for its task {self.task_id}"
        raise ConflictError("EVALUATION_NOT_READY", message, id=self.id, task_id=self.task_id)
