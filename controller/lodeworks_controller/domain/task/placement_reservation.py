"""The reservation: the oldest task that wants several GPUs at once gets a worker kept for it.

Without it, small tasks would take each GPU that becomes free, and a big task would wait for ever. Small ones may still
use the worker that is kept where that cannot delay the big one: on GPUs that it does not need, or for less time than it
will have to wait anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

BIG: Final = 2
"""From how many GPUs on a task is big: with fewer, any GPU that becomes free will do."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that holds GPUs of a worker."""

    gpus: int
    ends_at: datetime | None = None
    """When its time limit ends it at the latest; None = unknown."""


@dataclass(frozen=True, slots=True)
class Room:
    """A worker that could run the big task once enough of its GPUs are free."""

    worker_id: str
    gpus: int
    """That it has."""
    holders: tuple[Holder, ...] = ()

    @property
    def free(self) -> int:
        """How many GPUs nobody holds."""
        return self.gpus - sum(holder.gpus for holder in self.holders)

    def starts(self, wanted: int, *, at: datetime) -> tuple[datetime | None, int]:
        """Returns when so many GPUs are free at the latest (None = unknown), and how many more are free then."""
        free = self.free
        if free >= wanted:
            return at, free - wanted
        for holder in sorted(self.holders, key=lambda one: (one.ends_at is None, one.ends_at or at)):
            if holder.ends_at is None:
                break
            free += holder.gpus
            if free >= wanted:
                return max(at, holder.ends_at), free - wanted
        return None, 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A worker that is kept for a big task."""

    task_id: str
    worker_id: str
    wanted: int
    missing: int
    """How many GPUs have still to become free."""
    starts_at: datetime | None
    """At the latest, where that is known."""
    spare: int
    """GPUs that the big task leaves to others when it starts."""

    def allows(self, *, worker_id: str, gpus: int, run_timeout_s: float, at: datetime) -> bool:
        """Says whether another task may start on a worker without delaying the big one.

        A task without GPUs always may. One that is over before the big one starts may; so may one that fits beside it.
        """
        if worker_id != self.worker_id or not gpus:
            return True
        if self.starts_at is None:
            return False
        if gpus <= self.spare:
            return True
        return bool(run_timeout_s) and at + timedelta(seconds=run_timeout_s) <= self.starts_at


def reserve(task_id: str, wanted: int, rooms: Sequence[Room], *, at: datetime) -> Reservation | None:
    """Returns which worker is kept for a big task: the one that lacks the fewest GPUs, then the one that is free first.

    None where no worker is large enough. What the chosen worker lacks only ever shrinks while it is kept, so the
    choice needs no memory.
    """
    able = [room for room in rooms if room.gpus >= wanted]
    if not able:
        return None

    def place(room: Room) -> tuple[int, bool, datetime, str]:
        starts_at, _ = room.starts(wanted, at=at)
        return max(0, wanted - room.free), starts_at is None, starts_at or at, room.worker_id

    chosen = min(able, key=place)
    starts_at, spare = chosen.starts(wanted, at=at)
    return Reservation(task_id, chosen.worker_id, wanted, max(0, wanted - chosen.free), starts_at, spare)
