"""Which worker may run a task, and why none does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lodeworks_controller.domain.worker import Gpu, Worker

_EXTRA_OF = {
    "builtin:ingest": "worker",
    "builtin:export": "worker",
    "builtin:generate": "worker",
    "builtin:infer": "worker",
    "builtin:mine": "worker",
    "builtin:evaluate": "evaluation",
    "builtin:convert": "convert",
    "executor:detector": "detector",
}
"""The extra of lodeworks-platform that brings a capability."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker as placement sees it."""

    worker: Worker
    online: bool
    gpus: int


def suits(requires: frozenset[str], gpus: int, *, offered: frozenset[str], gpus_offered: int) -> bool:
    """Says whether a worker could ever run the task."""
    return requires <= offered and gpus <= gpus_offered


def pick_gpus(gpus: Sequence[Gpu], *, wanted: int, free: frozenset[str]) -> tuple[str, ...] | None:
    """Returns the GPUs a run gets, all or nothing; ``free`` narrows to those really free, where the worker told."""
    idle = [gpu.uuid for gpu in gpus if not gpu.task_id and (not free or gpu.uuid in free)]
    return tuple(idle[:wanted]) if len(idle) >= wanted else None


def waiting_reason(requires: frozenset[str], gpus: int, candidates: Iterable[Candidate]) -> str:
    """Returns why a task waits, and what to do about it; for people."""
    known = list(candidates)
    if not known:
        return "there is no worker yet; add one with `lode worker add NAME`"
    able = [one for one in known if suits(requires, gpus, offered=one.worker.capabilities.names, gpus_offered=one.gpus)]
    if not able:
        return _lacking(requires, gpus, known)
    online = [one for one in able if one.online]
    if not online:
        names = ", ".join(sorted(one.worker.name for one in able))
        return f"the workers that can run it are not connected ({names}); start `lode-worker run` there"
    if all(one.worker.draining for one in online):
        return "the workers that can run it are draining; let one work again with `lode worker undrain NAME`"
    return "waits for a free worker"


def _lacking(requires: frozenset[str], gpus: int, known: Sequence[Candidate]) -> str:
    for capability in sorted(requires):
        if any(capability in one.worker.capabilities.names for one in known):
            continue
        told = sorted(
            f"{one.worker.name}: {one.worker.capabilities.missing[capability]}"
            for one in known
            if capability in one.worker.capabilities.missing
        )
        if told:
            return f"no worker offers {capability} ({'; '.join(told)})"
        extra = _EXTRA_OF.get(capability)
        if extra is not None:
            names = ", ".join(sorted(one.worker.name for one in known))
            return f"no worker offers {capability}; run pip install 'lodeworks-platform[{extra}]' on a worker ({names})"
        return f"no worker offers {capability}; see what each offers with `lode worker ls`"
    if gpus:
        return (
            f"no worker with its executors has {gpus} GPU{'s' if gpus > 1 else ''}; ask for fewer, or add such a worker"
        )
    return "no single worker offers all of " + ", ".join(sorted(requires))
