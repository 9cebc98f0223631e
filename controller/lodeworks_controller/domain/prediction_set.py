"""Prediction sets: what a model says of the pictures of a version."""

from dataclasses import dataclass
from datetime import datetime

from lodeworks_controller.domain.manifest import Statistics


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """A model's boxes on the pictures of a version; it joins by picture, so later versions can use it.

    Attributes:
        id: Identifies the set for ever.
        project_id: Its project.
        version_id: The dataset version that was predicted.
        model_key: Digest of the model's stage, or ``name:<name>`` of one that is known by name only.
        model_name: What people call the model.
        settings_digest: Of the settings that it predicted with; "" for imported sets.
        variant: onnx-fp32, openvino-int8 …; "" for foreign ones.
        manifest_digest: Its content.
        statistics: Its figures.
        task_id: The task that made it.
        created_at: When it was made.
        deleted_at: When it was deleted.
    """

    id: str
    project_id: str
    version_id: str
    model_key: str
    model_name: str
    settings_digest: str
    variant: str
    manifest_digest: str
    statistics: Statistics
    created_at: datetime
    task_id: str | None = None
    deleted_at: datetime | None = None


def key_of_name(model_name: str) -> str:
    """Returns the key of a model that is known by name only."""
    return f"name:{model_name}"
