"""The events of the platform: what is told to others, each in the unit of work that causes it."""

from typing import Any, Final

from lodeworks_controller.domain.device import Device, reported_algorithms
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.service.store import Transaction

_READY: Final = {
    "dataset_version": "version.ready",
    "prediction_set": "prediction_set.ready",
    "model_version": "model.ready",
    "evaluation": "evaluation.ready",
    "release": "release.published",
}
"""Type of an object → what is told when it is there."""

_RESTING: Final = frozenset({"COMMITTED", "FAILED", "IDLE", "ROLLED_BACK"})
"""Phases of a device's algorithm worth telling; those between them last seconds."""


async def task_ended(tx: Transaction, task: Task) -> None:
    """Tells how a task ended, and of what it made if it succeeded."""
    told: dict[str, Any] = {
        "task_id": task.id,
        "kind": task.kind,
        "project_id": task.project_id,
        "title": task.title,
        "created_by": task.created_by,
    }
    if task.failure is not None:
        told |= {"reason": task.failure.reason.value, "message": task.failure.message}
    await tx.outbox.add(f"task.{task.state.value}", told, subject=task.id, project_id=task.project_id)
    if task.state is not TaskState.SUCCEEDED:
        return  # what a run that failed or was cancelled left is PARTIAL, and nobody waits for it
    for made in task.results:
        await object_ready(tx, made, project_id=task.project_id, task_id=task.id)


async def object_ready(tx: Transaction, made: ObjectRef, *, project_id: str, task_id: str = "") -> None:
    """Tells that an object is there; what has no name of its own is not told."""
    topic = _READY.get(made.type)
    if topic is not None:
        told = {"type": made.type, "id": made.id, "name": made.name, "project_id": project_id, "task_id": task_id}
        await tx.outbox.add(topic, told, subject=made.id, project_id=project_id)


async def device_reported(tx: Transaction, before: Device, after: Device) -> None:
    """Tells which algorithms of a device came to rest in another phase."""
    if after.reported == before.reported:
        return
    earlier = reported_algorithms(before.reported)
    for name, entry in reported_algorithms(after.reported).items():
        phase, was = str(entry.get("phase") or ""), earlier.get(name, {})
        if phase not in _RESTING or (phase, entry.get("since_time")) == (was.get("phase"), was.get("since_time")):
            continue
        told = {
            "device_id": after.id,
            "name": after.name,
            "algorithm": name,
            "phase": phase,
            "release": str(entry.get("active_release") or ""),
            "project_id": after.project_id,
            "message": str(entry.get("message") or entry.get("reason") or ""),
        }
        topic = "device.state" if phase in {"COMMITTED", "IDLE"} else "device.refused"
        await tx.outbox.add(topic, told, subject=after.id, project_id=after.project_id)
