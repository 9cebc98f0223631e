"""Datasets and their versions: named, numbered, never edited."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from lodeworks_controller.domain.manifest import Statistics
from lodeworks_controller.domain.project import ObjectType
from lodeworks_controller.errors import ConflictError


class VersionState(Enum):
    """Where a version is in its life. Readers see READY only; FAILED is kept for its reason."""

    CREATING = "creating"
    READY = "ready"
    FAILED = "failed"


class Operation(Enum):
    """How a version came to be."""

    IMPORT = "import"
    GENERATE = "generate"
    FILTER = "filter"
    MERGE = "merge"
    EXCLUDE = "exclude"
    SAMPLE = "sample"
    SPLIT = "split"
    COPY = "copy"
    MINE = "mine"
    TAG = "tag"
    DEDUP = "dedup"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A name in a project under which versions are counted."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    last_number: int = 0
    hidden: bool = False
    public: bool = False
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Making:
    """How a version is made: enough to make it again."""

    operation: Operation
    parents: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What a READY version holds: its manifest, and figures that lists show without opening it."""

    manifest_digest: str
    statistics: Statistics
    report_digest: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One version of a dataset. ``parents`` are ids of versions, in the order that the operation took them."""

    id: str
    dataset_id: str
    project_id: str
    name: str
    number: int
    state: VersionState
    object_type: ObjectType
    making: Making
    class_revision: int
    created_by: str
    created_at: datetime
    content: Content | None = None
    ready_at: datetime | None = None
    task_id: str | None = None
    failure: str | None = None
    report_digest: str | None = None
    deleted_at: datetime | None = None
    released_at: datetime | None = None

    @property
    def full_name(self) -> str:
        """The name with its number, as people write it."""
        return f"{self.name}@{self.number}"

    def require_content(self) -> Content:
        """Returns what the version holds, or raises ConflictError while it is not READY."""
        if self.state is VersionState.READY and self.content is not None and self.deleted_at is None:
            return self.content
        if self.deleted_at is not None:
            raise ConflictError("DATASET_DELETED", f"{self.full_name} was deleted; use another version", id=self.id)
        if self.state is VersionState.FAILED:
            message = f"{self.full_name} was never finished: {self.failure or 'its task failed'}; use another version"
            raise ConflictError("DATASET_FAILED", message, id=self.id)
        message = f"{self.full_name} is still being made; wait for its task {self.task_id or ''}".rstrip()
        raise ConflictError("DATASET_NOT_READY", message, id=self.id, task_id=self.task_id or "")

    def with_task(self, task_id: str) -> "DatasetVersion":
        """Returns the version with the task that makes it."""
        return replace(self, task_id=task_id)

    def released(self, *, at: datetime) -> "DatasetVersion":
        """Returns the deleted version as one whose objects its project no longer refers to."""
        return replace(self, released_at=at)

    def ready(self, content: Content, *, class_revision: int, at: datetime) -> "DatasetVersion":
        """Returns the version with what it holds; a failed one can still become READY, since tasks can be retried."""
        if self.state is VersionState.READY:
            raise ConflictError("DATASET_STATE", f"{self.full_name} is ready and never changes again", id=self.id)
        return replace(
            self,
            state=VersionState.READY,
            content=content,
            report_digest=content.report_digest,
            class_revision=class_revision,
            failure=None,
            ready_at=at,
        )

    def fail(self, failure: str) -> "DatasetVersion":
        """Returns the version as failed; one that is READY stays so."""
        if self.state is VersionState.READY:
            return self
        return replace(self, state=VersionState.FAILED, failure=failure)
