"""The tasks that a background role has taken up: each of them once, and not too many."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.service.role import RoleLostError

_ENOUGH = 64

LOOK_AT: Final = 2 * _ENOUGH
"""How many tasks to look at: as many as may be in hand already, and as many again to take up."""


class TasksInHand:
    """Works on tasks beside whoever takes them up.

    Args:
        name: What is done, for the names of the asyncio tasks.
        work: Does it to one task; its own faults are its own matter.
        look_again: Called when there was more than could be looked at, and a place is free.
    """

    def __init__(
        self, name: str, *, work: Callable[[Task], Coroutine[Any, Any, None]], look_again: Callable[[], None]
    ) -> None:
        self._name = name
        self._work = work
        self._look_again = look_again
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._more = False

    @property
    def room(self) -> int:
        """How many more may be taken up now."""
        return max(0, _ENOUGH - len(self._busy))

    @property
    def full(self) -> bool:
        """Whether there is no need to look for more: each that is done looks again."""
        return len(self._busy) >= _ENOUGH

    def take_up(self, ready: Sequence[Task]) -> None:
        """Begins with those that are not in hand yet; `ready` is of at most LOOK_AT tasks."""
        for task in ready:
            self._begin(task)
        self._more = len(ready) == LOOK_AT

    def take_over(self, handed: Sequence[Task]) -> None:
        """Begins with those that somebody handed over; at most as many as there is room for."""
        for task in handed:
            self._begin(task)

    def _begin(self, task: Task) -> None:
        if task.id not in self._busy:
            working = asyncio.create_task(self._one(task), name=f"{self._name}-{task.id}")
            self._busy[task.id] = working
            working.add_done_callback(lambda _: self._done(task.id))

    async def _one(self, task: Task) -> None:
        with suppress(RoleLostError):  # another controller takes it up
            await self._work(task)

    def _done(self, task_id: str) -> None:
        del self._busy[task_id]
        if self._more and not self.full:
            self._look_again()

    async def drain(self) -> None:
        """Waits until nothing is in hand."""
        while self._busy:
            await asyncio.wait(list(self._busy.values()))

    async def stop(self) -> None:
        """Drops what is in hand; it is taken up again after the next start."""
        for working in self._busy.values():
            working.cancel()
        await self.drain()
