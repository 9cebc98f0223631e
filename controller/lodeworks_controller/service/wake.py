"""Who waits for what: a hint that saves a poll, never the truth. Other controllers may be told, and tell."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from lodeworks_controller.domain.task.lane import Lane, Offer, Wants, read_lane

if TYPE_CHECKING:
    from lodeworks_controller.domain.task.run import Output
    from lodeworks_controller.domain.task.task import Task

T = TypeVar("T")

_MOST_HANDED: Final = 4_096

_WORKER: Final = "w"
_TASK: Final = "t"
_READY: Final = "r"


class Signal:
    """A flag that one waiter takes down and many may raise."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.abroad: Callable[[], None] | None = None
        """Tells the other controllers, where there are some."""

    def set(self) -> None:
        """Raises the flag."""
        self._event.set()
        if self.abroad is not None:
            self.abroad()

    def raise_here(self) -> None:
        """Raises the flag for this controller alone."""
        self._event.set()

    def clear(self) -> None:
        """Takes the flag down; done before looking for work, so that work that comes meanwhile is not missed."""
        self._event.clear()

    async def raised(self) -> None:
        """Waits for the flag, however long."""
        await self._event.wait()

    async def wait(self, timeout_s: float) -> bool:
        """Waits for the flag; says whether it was raised in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        return self._event.is_set()


class HandOver(Signal, Generic[T]):
    """A signal that brings what is to be worked on, as far as there is room for it; the rest is found by looking."""

    def __init__(self) -> None:
        super().__init__()
        self._given: deque[T] = deque()

    def give(self, item: T) -> None:
        """Raises the flag, and leaves the item with whoever takes it down."""
        if len(self._given) < _MOST_HANDED:
            self._given.append(item)
        self.set()

    def forget(self) -> None:
        """Leaves what was left here to be found by looking."""
        self._given.clear()

    def take(self, most: int) -> Sequence[T]:
        """Returns the first that were left, at most so many; the flag stays up while there are more."""
        taken = [self._given.popleft() for _ in range(min(most, len(self._given)))]
        if self._given:
            self.raise_here()
        return taken


@dataclass(slots=True, eq=False)
class Bell:
    """One open poll."""

    worker_id: str
    offer: Offer
    room: int
    """How many grants it would take."""
    signal: Signal = field(default_factory=Signal)
    have_seq: int = 0
    """The newest order that the worker has."""
    rung: int = 0
    """How many tasks it was rung for since it last looked."""

    def clear(self) -> None:
        """Takes the flag down before looking for work."""
        self.signal.clear()
        self.rung = 0


class Wakes:
    """The signals between the parts of one controller."""

    def __init__(self) -> None:
        self.placer: HandOver[Task] = HandOver()
        """Tasks that became ready, as they were stored."""
        self.finisher: HandOver[tuple[Task, Sequence[Output]]] = HandOver()
        """Tasks whose run is over, as they were stored, and what the run left."""
        self.outbox = Signal()
        self.webhooks = Signal()
        self.cron = Signal()
        self._bells: dict[str, list[Bell]] = {}
        self._watchers: dict[str, set[Signal]] = {}
        self.abroad: Callable[[str], None] | None = None
        """Tells the other controllers, where there are some, in a word that `hear` understands."""
        self.closing = False

    def among_others(self, tell: Callable[[str], None]) -> None:
        """Lets the other controllers know of each wake that may concern them."""
        self.abroad = tell
        for name, signal in self._roles().items():
            signal.abroad = partial(tell, name)

    def hear(self, word: str) -> None:
        """Does here what another controller told; a word that is not understood is of a newer one."""
        kind, _, rest = word.partition(" ")
        if (signal := self._roles().get(word)) is not None:
            signal.raise_here()
        elif kind == _WORKER:
            self._ring(rest)
        elif kind == _TASK:
            self._task_changed(rest)
        elif kind == _READY:
            self._ring_for(read_lane(rest).wants)

    def _roles(self) -> dict[str, Signal]:
        names = ("placer", "finisher", "outbox", "webhooks", "cron")
        return {name: getattr(self, name) for name in names}

    def _tell(self, word: str) -> None:
        if self.abroad is not None:
            self.abroad(word)

    @contextmanager
    def polling(self, worker_id: str, *, offer: Offer, room: int) -> Iterator[Bell]:
        """Lists an open poll for as long as it lasts."""
        bell = Bell(worker_id, offer, room)
        self._bells.setdefault(worker_id, []).append(bell)
        try:
            yield bell
        finally:
            bells = self._bells[worker_id]
            bells.remove(bell)
            if not bells:
                del self._bells[worker_id]

    def bells(self) -> Sequence[Bell]:
        """Returns the open polls."""
        return [bell for bells in self._bells.values() for bell in bells]

    def ring(self, worker_id: str) -> None:
        """Wakes the worker's open polls: there is a directive or a changed grant for it."""
        self._ring(worker_id)
        self._tell(f"{_WORKER} {worker_id}")

    def _ring(self, worker_id: str) -> None:
        for bell in self._bells.get(worker_id, ()):
            bell.signal.set()

    def ring_for(self, wants: Wants) -> None:
        """Wakes one open poll whose worker could run a task that became ready.

        If that worker cannot after all, the others look by themselves within a second.
        """
        if not self._ring_for(wants) and self.abroad is not None:
            self._tell(f"{_READY} {Lane('', '', wants)}")

    def _ring_for(self, wants: Wants) -> bool:
        for worker_id, bells in self._bells.items():
            for bell in bells:
                if bell.rung < bell.room and wants.suits(bell.offer):
                    bell.rung += 1
                    bell.signal.set()
                    # The next task goes to the next worker first.
                    self._bells[worker_id] = self._bells.pop(worker_id)
                    return True
        return False

    def ring_all(self) -> None:
        """Wakes every open poll."""
        for worker_id in self._bells:
            self._ring(worker_id)

    @contextmanager
    def watching(self, task_id: str) -> Iterator[Signal]:
        """Lists somebody who wants to hear of a task, for as long as it lasts."""
        signal = Signal()
        self._watchers.setdefault(task_id, set()).add(signal)
        try:
            yield signal
        finally:
            watchers = self._watchers[task_id]
            watchers.discard(signal)
            if not watchers:
                del self._watchers[task_id]

    def task_changed(self, task_id: str) -> None:
        """Wakes those who watch the task."""
        self._task_changed(task_id)
        self._tell(f"{_TASK} {task_id}")

    def _task_changed(self, task_id: str) -> None:
        for signal in self._watchers.get(task_id, ()):
            signal.set()

    def close(self) -> None:
        """Wakes everybody, so that open waits end."""
        self.closing = True
        self.ring_all()
        for task_id in self._watchers:
            self._task_changed(task_id)
        for signal in self._roles().values():
            signal.raise_here()
