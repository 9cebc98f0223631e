"""The task: one run of one executor, wished by a person, done by some worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lodeworks_controller.domain.task.run import ExecutorRef, Limits, Resources
from lodeworks_controller.domain.task.state import FailureReason, TaskState


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A resource by type (``dataset_version``, ``model``, ``evaluation`` …) and id."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed, as its owner reads it."""

    reason: FailureReason
    message: str
    exit_code: int | None = None
    signal: int | None = None
    last_lines: str = ""
    """The end of the run's output."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A wish for a task, as a service submits it inside its own transaction."""

    kind: str
    project_id: str
    title: str
    spec: Mapping[str, Any]
    """What the kind needs to prepare and finish; JSON values only."""
    created_by: str = ""
    depends_on: tuple[str, ...] = ()
    requires: frozenset[str] = frozenset()
    """Capabilities a worker must have, such as ``builtin:ingest`` or ``driver:docker``."""
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    priority: int = 0
    """Larger goes first."""
    subject: ObjectRef | None = None
    """The object that the task makes or works on; shown in lists."""
    executor: ExecutorRef | None = None
    """Shown with the task where it is known at once; the run takes it from the kind's plan."""
    infrastructure_retries: int = 2
    user_retries: int = 0
    lost_after_s: float = 60.0
    """How long a silent worker's run is waited for before the task is queued again."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one executor, as it stands."""

    id: str
    kind: str
    project_id: str
    title: str
    state: TaskState
    created_at: datetime
    updated_at: datetime
    spec: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = ""
    priority: int = 0
    requires: frozenset[str] = frozenset()
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    subject: ObjectRef | None = None
    result: ObjectRef | None = None
    executor: ExecutorRef | None = None
    deps_left: int = 0
    not_before: datetime | None = None
    waiting_reason: str = ""
    """Why a QUEUED task does not start, and what to install or wait for."""
    lease_epoch: int = 0
    lease_owner: str = ""
    """The worker that holds the lease; empty when none does."""
    lease_expires_at: datetime | None = None
    attempt_no: int = 0
    progress: float = 0.0
    """0 to 1."""
    phase: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    cancel_requested: bool = False
    infrastructure_retries_left: int = 2
    user_retries_left: int = 0
    lost_after_s: float = 60.0
    etag: int = 0
