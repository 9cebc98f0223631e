"""What must hold after any schedule, whatever went wrong."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from lodeworks_controller.domain.task import state as task_state
from lodeworks_controller.domain.task.state import TaskState
from simulated_installation import ADMIN

if TYPE_CHECKING:
    from simulated_controller import SimulatedController
    from simulated_installation import Installation, Wish

_FINAL = {"succeeded", "failed", "cancelled"}
_REVIVED = {("queued", "running"), ("queued", "finishing"), ("queued", "cancelling")}


async def broken(installation: Installation, *, settled: bool) -> list[str]:
    """Returns what does not hold; empty when all is well."""
    found = [f"stored: {what}" for (what,) in installation.disk.query("SELECT what FROM violations ORDER BY n")]
    found += [what for machine in installation.everything for what in machine.violations]
    found += [f"a call failed unexpectedly: {what}" for what in installation.network.faults]
    found += [f"unexpected: {what}" for what in installation.voices.unexpected]
    found += [f"a task of the loop failed: {_told(fault)}" for fault in installation.loop.faults]
    if not settled:
        rows = installation.disk.query(
            "SELECT title, state, waiting_reason, message FROM tasks WHERE state NOT IN "
            "('succeeded', 'failed', 'cancelled') ORDER BY id"
        )
        found += [f"{title} is forgotten: {state} ({why or message})" for title, state, why, message in rows]
    found += _tasks(installation) + _attempts(installation) + _history(installation) + _notices(installation)
    found += _adopted(installation)
    held = installation.disk.query("SELECT uuid, worker_id, task_id FROM gpu_slots WHERE task_id <> ''")
    found += [f"{uuid} of {worker} is held by {task} for ever" for uuid, worker, task in held if settled]
    if settled:
        found += await _logs(installation)
        found += installation.left_behind()
    return list(dict.fromkeys(found))


def _told(fault: dict[str, Any]) -> str:
    return f"{fault.get('message')} {fault.get('exception')!r}"


def _tasks(installation: Installation) -> list[str]:
    """One task per wish; SUCCEEDED if and only if its object is READY, and made of what the last attempt left."""
    found = []
    rows = installation.disk.query(
        "SELECT t.id, t.title, t.state, t.lease_epoch, o.state, o.lease_epoch, o.digests FROM tasks t "
        "LEFT JOIN objects o ON o.task_id = t.id ORDER BY t.id"
    )
    for title, count in Counter(row[1] for row in rows).items():
        if count > 1:
            found.append(f"one wish made {count} tasks called {title}")
    for task_id, title, state, epoch, object_state, object_epoch, digests in rows:
        if (state == "succeeded") != (object_state == "ready"):
            found.append(f"{title} is {state} and its object {object_state}")
        if object_state == "ready":
            wish = installation.wishes[installation.labels[task_id]]
            expected = hashlib.sha256(wish.result(object_epoch, salt=installation.salt).encode()).hexdigest()
            if object_epoch != epoch:
                found.append(f"{title} has the object of attempt {object_epoch} and ended in {epoch}")
            if digests != expected:
                found.append(f"the object of {title} is not made of what attempt {object_epoch} left: {digests}")
    return found


def _attempts(installation: Installation) -> list[str]:
    found = []
    by_task = defaultdict(list)
    for row in installation.disk.query(
        "SELECT a.task_id, t.title, t.state, a.lease_epoch, a.number, a.outcome FROM attempts a "
        "JOIN tasks t ON t.id = a.task_id ORDER BY a.task_id, a.lease_epoch"
    ):
        by_task[row[0]].append(row)
    for rows in by_task.values():
        _, title, state, *_ = rows[0]
        wish: Wish = installation.wishes[title]
        epochs, numbers = [row[3] for row in rows], [row[4] for row in rows]
        if epochs != list(range(1, len(rows) + 1)) or numbers != epochs:
            found.append(f"the attempts of {title} are {numbers} with epochs {epochs}")
        successes = [row[3] for row in rows if row[5] == "succeeded"]
        if len(successes) > 1 and not dict(wish.spec).get("bad_output"):
            found.append(f"attempts {successes} of {title} were all committed")
        if state in _FINAL and any(row[5] is None for row in rows):
            found.append(f"{title} is {state} and its attempts end as {[row[5] for row in rows]}")
    return found


def _adopted(installation: Installation) -> list[str]:
    """A worker that comes back knows each run that its machine has begun; a rival of the same identity cannot."""
    rivals = {machine.worker_id for machine in installation.rivals}
    begun = {run: machine for machine in installation.machines.values() for run in machine.started}
    rows = installation.disk.query(
        "SELECT task_id, lease_epoch FROM attempts WHERE outcome = 'lost' AND message LIKE '%came back without the run'"
    )
    return [
        f"{installation.labels[task_id]}-{epoch} was begun on {begun[task_id, epoch].name} and forgotten there"
        for task_id, epoch in rows
        if (task_id, epoch) in begun and begun[task_id, epoch].worker_id not in rivals
    ]


def _history(installation: Installation) -> list[str]:
    """Epochs only rise, and only moves that a task's life has were made."""
    found = []
    allowed = {(a.value, b.value) for a, after in task_state._NEXT.items() for b in after} | _REVIVED
    last: dict[str, int] = {}
    rows = installation.disk.query("SELECT task_id, before, after, epoch_before, epoch_after FROM history ORDER BY n")
    for task_id, before, after, epoch_before, epoch_after in rows:
        label = installation.labels.get(task_id, task_id)
        if before and before != after and (before, after) not in allowed:
            found.append(f"{label} went from {before} to {after}")
        if epoch_after < last.get(task_id, 0) or epoch_before != last.get(task_id, 0):
            found.append(f"the epoch of {label} went from {last.get(task_id)} to {epoch_before} and {epoch_after}")
        last[task_id] = epoch_after
        if after == TaskState.LEASED.value and before != after and epoch_after != epoch_before + 1:
            found.append(f"{label} was leased with epoch {epoch_after} after {epoch_before}")
    return found


def _notices(installation: Installation) -> list[str]:
    """Outbox and audit log tell of every end of a task, and of nothing else."""
    happened = Counter(
        (task_id, f"task.{after}")
        for task_id, after in installation.disk.query("SELECT task_id, after FROM history WHERE after <> before")
        if after in _FINAL
    )
    audited = Counter(
        (subject, action)
        for subject, action in installation.disk.query("SELECT subject, action FROM audit")
        if action.removeprefix("task.") in _FINAL
    )
    noticed = Counter(
        (json.loads(payload)["task_id"], topic)
        for payload, topic in installation.disk.query("SELECT payload, topic FROM outbox")
        if topic.removeprefix("task.") in _FINAL
    )
    found = []
    if audited != happened:
        found.append(f"the audit log differs by {_difference(audited, happened)}")
    if noticed != happened:
        found.append(f"the outbox differs by {_difference(noticed, happened)}")
    return found


def _difference(one: Counter[Any], other: Counter[Any]) -> dict[Any, int]:
    return {key: one[key] - other[key] for key in sorted({*one, *other}) if one[key] != other[key]}


async def _logs(installation: Installation) -> list[str]:
    """Each log is what its run said, from the first byte on; whole where the run ended by itself."""
    found = []
    rows = installation.disk.query(
        "SELECT a.task_id, t.title, a.lease_epoch, a.number, a.outcome, a.reason FROM attempts a "
        "JOIN tasks t ON t.id = a.task_id ORDER BY 1, 3"
    )
    for task_id, title, epoch, number, outcome, reason in rows:
        wish = installation.wishes[title]
        expected = "".join(f"{line}\n" for line in wish.expected_lines(epoch)).encode()

        async def read(controller: SimulatedController, task_id: str = task_id, number: int = number) -> bytes:
            news = controller.engine.news
            part = await news.read_log(ADMIN, task_id, attempt_no=number, stream="out", offset=0, limit=1 << 20)
            return part.data

        told = await installation.ask(read)
        if not isinstance(told, bytes):
            found.append(f"the log of {title}-{epoch} cannot be read: {told}")
        elif not expected.startswith(told):
            found.append(f"the log of {title}-{epoch} is not what its run said: {told!r}")
        elif (outcome == "succeeded" or (outcome == "failed" and reason == "user")) and told != expected:
            found.append(f"the log of {title}-{epoch} ended too soon ({len(told)} of {len(expected)} bytes)")
    return found
