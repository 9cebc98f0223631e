"""Figures of the moment, for a collector of metrics."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.store import Store


@dataclass(frozen=True, slots=True)
class Figures:
    """How much there is of what."""

    tasks: Mapping[str, int]
    """By state."""
    workers: Mapping[str, int]
    """By state."""
    gpus_held: int


class FigureService:
    """Measures the controller."""

    def __init__(self, store: Store, *, terms: LeaseTerms) -> None:
        self._store = store
        self._terms = terms

    async def measure(self) -> Figures:
        """Returns the figures of this moment."""
        async with self._store.snapshot() as tx:
            silent_after_s = self._terms.ttl_s
            states = [worker.state(at=tx.now(), silent_after_s=silent_after_s) for worker in await tx.workers.list()]
            gpus = [gpu for some in (await tx.workers.all_gpus()).values() for gpu in some]
            return Figures(
                tasks={state.value: count for state, count in (await tx.tasks.counts()).items()},
                workers=Counter(state.value for state in states),
                gpus_held=sum(bool(gpu.task_id) for gpu in gpus),
            )
