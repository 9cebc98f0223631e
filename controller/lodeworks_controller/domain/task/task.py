"""The task: one run of one executor, wished by a person, done by some worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lodeworks_controller.domain.task.labels import canonical_labels
from lodeworks_controller.domain.task.lane import Wants, wants_of
from lodeworks_controller.domain.task.options import INFRASTRUCTURE_RETRIES, TaskOptions
from lodeworks_controller.domain.task.run import Limits, Resources
from lodeworks_controller.domain.task.state import FailureReason, TaskState


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A resource: type (``dataset_version``, ``model_version``, ``evaluation`` …), id and full name (``cells@3``)."""

    type: str
    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task or an attempt failed, as its owner reads it."""

    reason: FailureReason
    message: str
    exit_code: int = 0
    signal: int = 0
    last_lines: tuple[str, ...] = ()
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
    """Id of the user."""
    depends_on: tuple[str, ...] = ()
    requires: frozenset[str] = frozenset()
    """Capabilities a worker must have, such as ``builtin:ingest``, ``executor:detector`` or ``driver:docker``."""
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    priority: int = 0
    """Larger goes first."""
    subject: ObjectRef | None = None
    """The object that the task makes or works on; shown in lists."""
    options: TaskOptions = field(default_factory=TaskOptions)
    """What its maker asked for; goes before what the service wished."""
    infrastructure_retries: int = INFRASTRUCTURE_RETRIES
    user_retries: int = 0
    lost_after_s: float = 60.0
    """How long a silent worker's run is waited for before the task is queued again; trainings take 600."""

    def with_options(self) -> "NewTask":
        """Returns the wish with what its maker asked for in its place."""
        asked = self.options
        limits = Limits(
            run_timeout_s=asked.run_timeout_s or self.limits.run_timeout_s,
            stall_timeout_s=asked.stall_timeout_s or self.limits.stall_timeout_s,
            start_timeout_s=asked.start_timeout_s or self.limits.start_timeout_s,
            stop_grace_s=self.limits.stop_grace_s,
        )
        resources = replace(
            self.resources,
            gpus=asked.gpus or self.resources.gpus,
            labels=canonical_labels(asked.labels) or self.resources.labels,
            only_free_gpus=asked.only_free_gpus or self.resources.only_free_gpus,
        )
        infrastructure = asked.infrastructure_retries
        return replace(
            self,
            depends_on=tuple(dict.fromkeys((*self.depends_on, *asked.after))),
            resources=resources,
            limits=limits,
            priority=asked.priority or self.priority,
            infrastructure_retries=self.infrastructure_retries if infrastructure is None else infrastructure,
            user_retries=self.user_retries if asked.retries is None else asked.retries,
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may report on a task, and until when."""

    owner: str = ""
    """The worker; empty when none holds it."""
    epoch: int = 0
    """Fences every write of an agent; rises with each grant and never falls."""
    expires_at: datetime | None = None
    granted_at: datetime | None = None
    listed: bool = False
    """Whether a report has named it; until then the grant may be sent again."""
    suspect_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """How many more attempts a task has, apart for the platform's failures and for its own."""

    infrastructure: int = 2
    user: int = 0


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
    results: tuple[ObjectRef, ...] = ()
    """What it made, the result first."""
    deps_left: int = 0
    planned: bool = False
    """Whether its run has been built; a QUEUED task is granted only then."""
    not_before: datetime | None = None
    start_before: datetime | None = None
    """When a QUEUED task has waited for too long; None = never."""
    waiting_reason: str = ""
    """Why a QUEUED task does not start, and what to install or wait for."""
    lease: Lease = field(default_factory=Lease)
    attempt_no: int = 0
    progress: float = -1.0
    """0 to 1; negative when unknown."""
    phase: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    budget: Budget = field(default_factory=Budget)
    lost_after_s: float = 60.0
    finish_tries: int = 0
    options: TaskOptions = field(default_factory=TaskOptions)
    reuse_key: str = ""
    """Tells equal runs of deterministic executors; empty while the run is not built, and for all others."""
    equal_task_id: str = ""
    """The newest earlier task that succeeded with the same run."""
    reused: bool = False
    """Whether the outputs of that task were taken instead of a run."""
    revision: int = 1
    """Rises with every change."""

    @property
    def wants(self) -> Wants:
        """What it asks of a worker."""
        return wants_of(self.requires, self.resources)
