"""What the database of an installation must say after chaos: every end told once, every attempt ended, nothing held."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FINAL = ("succeeded", "failed", "cancelled")


def unsettled(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    """Returns what background roles have yet to do: tasks that are not over, events that are not handed on."""
    states = Counter(state for (state,) in rows("SELECT state FROM tasks"))
    found = [f"{count} tasks are {state}" for state, count in states.items() if state not in FINAL]
    ((waiting,),) = rows("SELECT count(*) FROM outbox WHERE delivered_at IS NULL")
    return [*found, f"{waiting} events wait"] if waiting else found


def broken(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    """Returns what does not hold in a database in which everything is over; empty when all is well."""
    return [*_ends(rows), *_objects(rows), *_attempts(rows), *_held(rows)]


def _ends(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    """Audit log, outbox and messages tell of every end of a task once, and of nothing else."""
    happened = Counter({(task_id, f"task.{state}"): 1 for task_id, state in rows("SELECT id, state FROM tasks")})
    topics = ", ".join(f"'task.{state}'" for state in FINAL)
    audited = Counter(rows(f"SELECT subject, action FROM audit WHERE action IN ({topics})"))
    noticed = Counter(
        (json.loads(payload)["task_id"], topic)
        for payload, topic in rows(f"SELECT payload, topic FROM outbox WHERE topic IN ({topics})")
    )
    heard = Counter(rows(f"SELECT subject, topic FROM messages WHERE topic IN ({topics})"))
    submitted = Counter(subject for (subject,) in rows("SELECT subject FROM audit WHERE action = 'task.submit'"))
    found = _apart("the audit log", audited, happened) + _apart("the outbox", noticed, happened)
    found += _apart("the messages", heard, happened)
    return found + _apart("submissions", submitted, Counter({task_id: 1 for task_id, _ in happened}))


def _objects(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    """A model is READY if and only if its task succeeded, and exactly those are told."""
    found = []
    query = "SELECT m.id, m.state, t.state FROM model_versions m LEFT JOIN tasks t ON t.id = m.task_id"
    ready = Counter[Any]()
    for version_id, state, task_state in rows(query):
        if (state == "ready") != (task_state == "succeeded"):
            found.append(f"model version {version_id} is {state} and its task {task_state}")
        if state == "creating":
            found.append(f"model version {version_id} is made for ever")
        ready[version_id] += state == "ready"
    told = Counter(subject for (subject,) in rows("SELECT subject FROM outbox WHERE topic = 'model.ready'"))
    return found + _apart("the notices of models", told, +ready)


def _attempts(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    """Attempts are numbered without a gap under rising epochs, each has ended, and one at most succeeded."""
    found = []
    states = dict(rows("SELECT id, state FROM tasks"))
    attempts = defaultdict(list)
    query = "SELECT task_id, number, lease_epoch, outcome FROM attempts ORDER BY task_id, lease_epoch"
    for task_id, *told in rows(query):
        attempts[task_id].append(told)
    failed = Counter(subject for (subject,) in rows("SELECT subject FROM audit WHERE action = 'task.attempt_failed'"))
    revived = Counter(subject for (subject,) in rows("SELECT subject FROM audit WHERE action = 'task.revived'"))
    for task_id, told in attempts.items():
        numbers, outcomes = [number for number, _, _ in told], [outcome for _, _, outcome in told]
        succeeded = outcomes.count("succeeded")
        if numbers != list(range(1, len(told) + 1)):
            found.append(f"the attempts of {task_id} are numbered {numbers}")
        if None in outcomes or succeeded > 1 or (states[task_id] == "succeeded") != (outcomes[-1] == "succeeded"):
            found.append(f"{task_id} is {states[task_id]} after attempts that ended {outcomes}")
        lost = len(told) - succeeded
        if failed[task_id] != lost + revived[task_id]:
            found.append(f"{lost} attempts of {task_id} failed, and the audit log tells of {failed[task_id]}")
    return found


def _held(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> list[str]:
    owned = rows("SELECT id FROM tasks WHERE lease_owner <> '' AND state IN ('succeeded', 'failed', 'cancelled')")
    slots = rows("SELECT uuid FROM gpu_slots WHERE task_id <> ''")
    return [f"{task_id} is over and leased" for (task_id,) in owned] + [f"GPU {uuid} is held" for (uuid,) in slots]


def _apart(what: str, told: Counter[Any], happened: Counter[Any]) -> list[str]:
    apart = {key: told[key] - happened[key] for key in {*told, *happened} if told[key] != happened[key]}
    return [f"{what} and what happened differ by {apart}"] if apart else []
