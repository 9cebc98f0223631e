"""Which worker may run a task, and why none does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lodeworks_controller.domain.task.labels import met
from lodeworks_controller.domain.task.lane import Offer, Wants
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

_NAMED: Final = 3
"""How many workers a reason names."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker as placement sees it."""

    worker: Worker
    online: bool
    gpus: int

    @property
    def offer(self) -> Offer:
        """What it offers to tasks."""
        return offer_of(self.worker, gpus=self.gpus)


def offer_of(worker: Worker, *, gpus: int) -> Offer:
    """Returns what a worker offers; what its administrator says of it counts more than its own configuration."""
    capabilities = worker.capabilities
    return Offer(capabilities.names, {**capabilities.labels, **worker.labels}, gpus)


def pick_gpus(
    gpus: Sequence[Gpu], *, wanted: int, free: frozenset[str] = frozenset(), shun: frozenset[str] = frozenset()
) -> tuple[str, ...] | None:
    """Returns the GPUs a run gets, all or nothing.

    ``free`` narrows to those that the worker calls free, where it told; ``shun`` are taken by nobody of ours and used
    all the same.
    """
    idle = [gpu.uuid for gpu in gpus if not gpu.task_id and (not free or gpu.uuid in free) and gpu.uuid not in shun]
    return tuple(idle[:wanted]) if len(idle) >= wanted else None


def waiting_reason(wants: Wants, candidates: Iterable[Candidate]) -> str:
    """Returns why a task waits, and what to do about it; for people."""
    known = list(candidates)
    if not known:
        return "there is no worker yet; add one with `lode worker add NAME`"
    able = [one for one in known if wants.suits(one.offer)]
    if not able:
        return _lacking(wants, known)
    online = [one for one in able if one.online]
    if not online:
        names = ", ".join(sorted(one.worker.name for one in able))
        return f"the workers that can run it are not connected ({names}); start `lode-worker run` there"
    if all(one.worker.draining for one in online):
        return "the workers that can run it are draining; let one work again with `lode worker undrain NAME`"
    if wants.gpus:
        also = " that no other program uses" if wants.only_free_gpus else ""
        return f"waits for {_gpus(wants.gpus)}{also} on one worker"
    return "waits for a free worker"


def unplaceable(wants: Wants, candidates: Iterable[Candidate]) -> bool:
    """Says whether no worker that is known could ever run the task."""
    return not any(wants.suits(one.offer) for one in candidates)


def _gpus(number: int) -> str:
    return f"{number} free GPU{'' if number == 1 else 's'}"


def _lacking(wants: Wants, known: Sequence[Candidate]) -> str:
    for capability in sorted(wants.requires):
        if not any(capability in one.worker.capabilities.names for one in known):
            return _unoffered(capability, known)
    executors = replace(wants, labels=(), gpus=0)
    with_executors = [one for one in known if executors.suits(one.offer)]
    if not with_executors:
        return "no single worker offers all of " + ", ".join(sorted(wants.requires))
    labelled = [one for one in with_executors if met(wants.labels, one.offer.labels)]
    if not labelled:
        asked = ",".join(str(term) for term in wants.labels)
        told = "; ".join(f"{one.worker.name}: {_labels(one)}" for one in with_executors[:_NAMED])
        return (
            f"no worker with its executors has labels like {asked!r} ({told}); give one such labels in its worker.toml"
        )
    most = max(one.gpus for one in labelled)
    return (
        f"no worker with its executors has {wants.gpus} GPU{'s' if wants.gpus > 1 else ''} (the most is {most}); "
        "ask for fewer, or add such a worker"
    )


def _labels(one: Candidate) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(one.offer.labels.items())) or "none"


def _unoffered(capability: str, known: Sequence[Candidate]) -> str:
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
