"""The tables of tasks, and how a row becomes a task."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    RowMapping,
    String,
    Table,
    Text,
)

from lodeworks_controller.domain.task.attempt import Attempt, Outcome
from lodeworks_controller.domain.task.lane import Lane, wants_of
from lodeworks_controller.domain.task.options import options_from
from lodeworks_controller.domain.task.run import Input, Limits, OutputSlot, Resources, RunPolicy, RunSpec
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.task.task import Budget, Failure, Lease, ObjectRef, Task
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, JsonText, metadata

tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("project_id", Id, nullable=False),
    Column("title", Text, nullable=False),
    Column("spec", JsonText, nullable=False),
    Column("created_by", String(26), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("requires", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("resources", JsonText, nullable=False),
    Column("limits", JsonText, nullable=False),
    Column("subject", JsonText),
    Column("lost_after_s", Float, nullable=False),
    Column("state", String(12), nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("results", JsonText, nullable=False),
    Column("deps_left", Integer, nullable=False),
    Column("planned", Boolean, nullable=False),
    Column("not_before", Instant),
    Column("waiting_reason", Text, nullable=False),
    Column("lease_owner", String(26), nullable=False),
    Column("lease_epoch", BigInteger, nullable=False),
    Column("lease_expires_at", Instant),
    Column("lease_granted_at", Instant),
    Column("lease_listed", Boolean, nullable=False),
    Column("lease_suspect_at", Instant),
    Column("attempt_no", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("phase", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("failure", JsonText),
    Column("infrastructure_tries_left", Integer, nullable=False),
    Column("user_tries_left", Integer, nullable=False),
    Column("finish_tries", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("rank", Integer, nullable=False),  # the priority's negative: one index runs in the order of a lane
    Column("lane", Text, nullable=False),
    Column("options", JsonText, nullable=False),
    Column("reuse_key", String(64)),  # NULL: its executor is not known to answer the same again
    Column("equal_task_id", String(26), nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("start_before", Instant),
    Index(None, "reuse_key"),
    Index(None, "start_before"),
    Index(None, "state", "planned", "lane", "rank", "id"),
    Index(None, "state", "project_id", "created_by", "gpus"),
    Index(None, "lease_owner", "state"),
    Index(None, "project_id", "id"),
)

task_edges = Table(
    "task_edges",
    metadata,
    Column("parent_id", Id, ForeignKey("tasks.id"), nullable=False),
    Column("child_id", Id, ForeignKey("tasks.id"), nullable=False),
    PrimaryKeyConstraint("parent_id", "child_id"),
    Index(None, "child_id"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("lease_epoch", BigInteger, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("saved_at", Instant, nullable=False),
)

task_plans = Table(
    "task_plans",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), primary_key=True),
    Column("plan", JsonText, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), nullable=False),
    Column("lease_epoch", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("worker_id", Id, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("outcome", String(12)),
    Column("reason", String(20)),
    Column("message", Text, nullable=False),
    Column("exit_code", Integer, nullable=False),
    Column("signal", Integer, nullable=False),
    Column("log_tail", JsonText, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("environment_digest", String(128), nullable=False),
    Column("request_id", String(80), nullable=False),
    Column("gpu_uuids", JsonText, nullable=False, server_default="[]"),
    PrimaryKeyConstraint("task_id", "lease_epoch"),
)

outputs = Table(
    "outputs",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id"), nullable=False),
    Column("lease_epoch", BigInteger, nullable=False),
    Column("role", String(400), nullable=False),
    Column("digest", Digest, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("task_id", "lease_epoch", "role"),
)


FIXED = (
    "id",
    "kind",
    "project_id",
    "title",
    "spec",
    "created_by",
    "created_at",
    "requires",
    "lane",
    "gpus",
    "resources",
    "limits",
    "subject",
    "lost_after_s",
    "options",
)
"""The columns that never change after the task was made."""

MOVING = tuple(column.name for column in tasks.c if column.name not in FIXED)
"""The columns that change in a task's life."""


def requires_text(requires: frozenset[str]) -> str:
    """Returns a set of capabilities as one text, the same for the same set."""
    return " ".join(sorted(requires))


def fixed_values(task: Task) -> dict[str, Any]:
    """Returns the columns that never change after the task was made."""
    return {
        "id": task.id,
        "kind": task.kind,
        "project_id": task.project_id,
        "title": task.title,
        "spec": dict(task.spec),
        "created_by": task.created_by,
        "created_at": task.created_at,
        "requires": requires_text(task.requires),
        "lane": str(Lane(task.project_id, task.created_by, wants_of(task.requires, task.resources))),
        "gpus": task.resources.gpus,
        "resources": {name: getattr(task.resources, name) for name in _RESOURCES},
        "limits": {name: getattr(task.limits, name) for name in _LIMITS},
        "subject": None if task.subject is None else asdict(task.subject),
        "lost_after_s": task.lost_after_s,
        "options": task.options.to_json(),
    }


def moving_values(task: Task) -> dict[str, Any]:
    """Returns the columns that change in a task's life."""
    return {
        "state": task.state.value,
        "priority": task.priority,
        "rank": -task.priority,
        "updated_at": task.updated_at,
        "results": [asdict(result) for result in task.results],
        "deps_left": task.deps_left,
        "planned": task.planned,
        "not_before": task.not_before,
        "start_before": task.start_before,
        "waiting_reason": task.waiting_reason,
        "lease_owner": task.lease.owner,
        "lease_epoch": task.lease.epoch,
        "lease_expires_at": task.lease.expires_at,
        "lease_granted_at": task.lease.granted_at,
        "lease_listed": task.lease.listed,
        "lease_suspect_at": task.lease.suspect_at,
        "attempt_no": task.attempt_no,
        "progress": task.progress,
        "phase": task.phase,
        "message": task.message,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "failure": None if task.failure is None else {**asdict(task.failure), "reason": task.failure.reason.value},
        "infrastructure_tries_left": task.budget.infrastructure,
        "user_tries_left": task.budget.user,
        "finish_tries": task.finish_tries,
        "reuse_key": task.reuse_key or None,
        "equal_task_id": task.equal_task_id,
        "reused": task.reused,
        "revision": task.revision,
    }


_SAME = (
    "id",
    "kind",
    "project_id",
    "title",
    "spec",
    "created_by",
    "created_at",
    "updated_at",
    "priority",
    "lost_after_s",
    "deps_left",
    "planned",
    "not_before",
    "start_before",
    "waiting_reason",
    "attempt_no",
    "progress",
    "phase",
    "message",
    "started_at",
    "ended_at",
    "finish_tries",
    "equal_task_id",
    "reused",
    "revision",
)


def to_task(row: RowMapping) -> Task:
    """Returns the task of a row."""
    return Task(
        **{name: row[name] for name in _SAME},
        state=TaskState(row["state"]),
        requires=frozenset(row["requires"].split()),
        resources=Resources(**row["resources"]),
        limits=Limits(**row["limits"]),
        subject=None if row["subject"] is None else ObjectRef(**row["subject"]),
        results=tuple(ObjectRef(**result) for result in row["results"]),
        lease=Lease(
            owner=row["lease_owner"],
            epoch=row["lease_epoch"],
            expires_at=row["lease_expires_at"],
            granted_at=row["lease_granted_at"],
            listed=row["lease_listed"],
            suspect_at=row["lease_suspect_at"],
        ),
        failure=_to_failure(row["failure"]),
        options=options_from(row["options"]),
        reuse_key=row["reuse_key"] or "",
        budget=Budget(infrastructure=row["infrastructure_tries_left"], user=row["user_tries_left"]),
    )


def _to_failure(value: Mapping[str, Any] | None) -> Failure | None:
    if value is None:
        return None
    return Failure(
        reason=FailureReason(value["reason"]),
        message=value["message"],
        exit_code=value["exit_code"],
        signal=value["signal"],
        last_lines=tuple(value["last_lines"]),
    )


# asdict copies each value in depth, which costs more than storing the row.
_ATTEMPT = tuple(field.name for field in fields(Attempt))
_RESOURCES = tuple(field.name for field in fields(Resources))
_LIMITS = tuple(field.name for field in fields(Limits))
_POLICY = tuple(field.name for field in fields(RunPolicy))


def attempt_values(attempt: Attempt) -> dict[str, Any]:
    """Returns the columns of an attempt."""
    return {
        **{name: getattr(attempt, name) for name in _ATTEMPT},
        "outcome": None if attempt.outcome is None else attempt.outcome.value,
        "reason": None if attempt.reason is None else attempt.reason.value,
        "log_tail": list(attempt.log_tail),
        "gpu_uuids": list(attempt.gpu_uuids),
    }


def to_attempt(row: RowMapping) -> Attempt:
    """Returns the attempt of a row."""
    values = dict(row)
    values["outcome"] = None if row["outcome"] is None else Outcome(row["outcome"])
    values["reason"] = None if row["reason"] is None else FailureReason(row["reason"])
    values["log_tail"] = tuple(row["log_tail"])
    values["gpu_uuids"] = tuple(row["gpu_uuids"])
    return Attempt(**values)


def plan_value(plan: RunSpec) -> dict[str, Any]:
    """Returns the JSON that tells a run."""
    return {
        "executor": plan.executor,
        "operations": list(plan.operations),
        "class_names": list(plan.class_names),
        "settings_yaml": plan.settings_yaml,
        "inputs": [{"role": one.role, "digest": one.digest, "size_bytes": one.size_bytes} for one in plan.inputs],
        "outputs": [{"role": one.role, "required": one.required, "max_bytes": one.max_bytes} for one in plan.outputs],
        "resources": {name: getattr(plan.resources, name) for name in _RESOURCES},
        "limits": {name: getattr(plan.limits, name) for name in _LIMITS},
        "export_format": plan.export_format,
        "object_type": plan.object_type,
        "policy": {name: getattr(plan.policy, name) for name in _POLICY},
    }


def to_plan(value: Mapping[str, Any]) -> RunSpec:
    """Returns the run that a plan's JSON tells."""
    return RunSpec(
        executor=value["executor"],
        operations=tuple(value["operations"]),
        class_names=tuple(value["class_names"]),
        settings_yaml=value["settings_yaml"],
        inputs=tuple(Input(**one) for one in value["inputs"]),
        outputs=tuple(OutputSlot(**one) for one in value["outputs"]),
        resources=Resources(**value["resources"]),
        limits=Limits(**value["limits"]),
        export_format=value["export_format"],
        object_type=value["object_type"],
        policy=RunPolicy(**value.get("policy", {})),
    )
