"""Figures of the moment, for a collector of metrics."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.store import Store


@dataclass(frozen=True, slots=True)
class Figures:
    """How much there is of what.

    Attributes:
        tasks: By state.
        workers: By state.
        gpus_held: GPUs that tasks hold.
        gpus: GPUs of all workers.
        open_tasks: Tasks that have not ended, by kind and state.
        queue_age_s: Age of the oldest task that waits for a worker.
        outbox_lag_s: Age of the oldest event that was not handed on.
        deliveries: Of webhooks that wait or were given up.
        roles: Role → name of the controller that has it; empty with one controller.
        blobs: Count and bytes of ``stored`` and ``unused`` blobs.
        disk_free_bytes: On the disk of the state.
    """

    tasks: Mapping[str, int]
    workers: Mapping[str, int]
    gpus_held: int
    gpus: int = 0
    open_tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    queue_age_s: float = 0.0
    outbox_lag_s: float = 0.0
    deliveries: Mapping[str, int] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    disk_free_bytes: int = 0


class FigureService:
    """Measures the controller.

    Args:
        store: The database.
        terms: When a worker counts as silent.
        free_bytes: Says how much is free on the disk of the state; blocks.
    """

    def __init__(self, store: Store, *, terms: LeaseTerms, free_bytes: Callable[[], int] = lambda: 0) -> None:
        self._store = store
        self._terms = terms
        self._free_bytes = free_bytes

    async def measure(self) -> Figures:
        """Returns the figures of this moment."""
        free = await asyncio.to_thread(self._free_bytes)
        async with self._store.snapshot() as tx:
            now, silent_after_s = tx.now(), self._terms.ttl_s
            states = [worker.state(at=now, silent_after_s=silent_after_s) for worker in await tx.workers.list()]
            gpus = [gpu for some in (await tx.workers.all_gpus()).values() for gpu in some]
            waits_since, event_since = await tx.tasks.oldest_waiting(), await tx.outbox.oldest()
            stored, unused = await tx.collection.stored()
            return Figures(
                tasks={state.value: count for state, count in (await tx.tasks.counts()).items()},
                workers=Counter(state.value for state in states),
                gpus=len(gpus),
                gpus_held=sum(bool(gpu.task_id) for gpu in gpus),
                open_tasks={
                    (kind, state.value): count for (kind, state), count in (await tx.tasks.open_counts()).items()
                },
                queue_age_s=0.0 if waits_since is None else max(0.0, (now - waits_since).total_seconds()),
                outbox_lag_s=0.0 if event_since is None else max(0.0, (now - event_since).total_seconds()),
                deliveries={state.value: count for state, count in (await tx.webhooks.waiting_and_dead()).items()},
                roles={lease.role: lease.holder_name for lease in await tx.roles.list() if lease.holder},
                blobs={"stored": (stored.blobs, stored.size_bytes), "unused": (unused.blobs, unused.size_bytes)},
                disk_free_bytes=free,
            )
