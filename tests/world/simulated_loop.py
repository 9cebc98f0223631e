"""An event loop without time and threads: its clock jumps to what comes next, and parties in it can freeze or die.

A party is a process of the simulated installation: whatever is begun in its context belongs to it. A frozen party's
callbacks are parked until it thaws, as by SIGSTOP; a dead one's are dropped, as by SIGKILL: no `finally` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

_STEP_S = 1e-6
_CLOSES = 40


@dataclass(slots=True, eq=False)
class Party:
    """A process: its name, and whether it is stopped or dead."""

    name: str
    frozen: bool = False
    dead: bool = False
    parked: list[asyncio.Handle] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    context: Context = field(default_factory=Context)
    on_death: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.run(PARTY.set, self)


PARTY: ContextVar[Party | None] = ContextVar("party", default=None)


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is the same in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, number: int, **more: Any) -> None:
        self.number = number
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class LivelockError(Exception):
    """Too much happened without an end in sight."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in the order of their simulated times; threads' work is done in line."""

    def __init__(self, *, most_steps: int = 3_000_000) -> None:
        self._now = 1_000.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        self._parties: list[Party] = []
        self._steps_left = most_steps
        self._running = False
        self._closed = False
        self._sky: list[asyncio.Task[Any]] = []
        self.faults: list[dict[str, Any]] = []

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        self._number += 1
        context = copy_context() if context is None else context
        task = NumberedTask(coroutine, number=self._number, loop=self, name=name, context=context)
        party = context.get(PARTY)
        (self._sky if party is None else party.tasks).append(task)
        return task

    def run_in_executor(self, _executor: Any, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()

        def perform() -> None:
            try:
                result = work(*args)
            except StopIteration:
                raise
            except BaseException as error:  # noqa: BLE001
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self.call_soon(perform)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context)

    # --- parties

    def party(self, name: str) -> Party:
        """Returns a new process."""
        made = Party(name)
        self._parties.append(made)
        return made

    def begin(self, party: Party, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Starts work that belongs to a party."""
        if len(party.tasks) > 500:
            party.tasks = [task for task in party.tasks if not task.done()]
        return self.create_task(coroutine, name=name, context=party.context.copy())

    def in_sky(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Calls something that belongs to no party, whoever asks for it."""
        return self.call_later(delay, callback, *args, context=Context())

    def kill(self, party: Party) -> None:
        """Ends a party at once: nothing of it runs any more."""
        party.dead = True
        party.parked.clear()
        for told in party.on_death:
            told()

    def thaw(self, party: Party) -> None:
        """Lets a frozen party go on with all that came meanwhile."""
        party.frozen = False
        parked, party.parked = party.parked, []
        self._ready.extend(parked)

    # --- running

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Runs until the coroutine is done and returns its result."""
        asyncio._set_running_loop(self)
        self._running = True
        try:
            task = self.create_task(main, context=Context())
            while not task.done():
                self._step()
            return task.result()
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        if self._ready:
            handle = self._ready.popleft()
        elif self._timers:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            handle = timer
        else:
            raise LivelockError("everybody waits for something that nobody will do")
        if handle._cancelled:
            return
        self._now += _STEP_S
        self._steps_left -= 1
        if self._steps_left < 0:
            raise LivelockError("there was no end to it")
        party = handle._context.get(PARTY)
        if party is not None:
            if party.dead:
                return
            if party.frozen:
                party.parked.append(handle)
                return
        handle._run()

    def close(self) -> None:
        """Closes what the dead have left, so that nothing of it is told off when it is collected."""
        asyncio._set_running_loop(self)
        try:
            self._close_coroutines()
        finally:
            asyncio._set_running_loop(None)
        self._ready.clear()
        self._timers.clear()
        self._parties.clear()
        self._sky.clear()
        self._closed = True

    def _close_coroutines(self) -> None:
        left = [*self._sky, *(task for party in self._parties for task in party.tasks)]
        while left:
            # What is closed may begin something in a `finally`: that is in the sky, and closed too.
            self._sky.clear()
            for task in left:
                if not task.done():
                    task._log_destroy_pending = False
                    _close(task.get_coro())
            left = list(self._sky)


def _close(coroutine: Generator[Any, Any, Any] | Coroutine[Any, Any, Any]) -> None:
    for _ in range(_CLOSES):
        try:
            coroutine.close()
        except RuntimeError:  # it waits for something in a `finally`: once more
            continue
        except BaseException:  # noqa: BLE001
            return
        return
    with contextlib.suppress(BaseException):
        coroutine.close()
