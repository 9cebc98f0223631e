"""Group commit: units of work that write stand in a queue, and those that queue up while one works share one commit.

One works at a time and sees what those before it did; each can be taken back alone, and none returns before the shared
commit is durable. What a unit calls by ``on_kept`` runs before that commit: who wakes by it and writes in turn shares
it too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, Protocol, TypeVar

from lodeworks_controller.errors import UnavailableError

_log = logging.getLogger(__name__)
_MEMBERS = 64
_CROWD = 8
"""So many members make a group a crowd."""
_PACE_S = 0.004
_UNHEARD = "a commit was made, and who was told of it failed"
_FOLLOW_UP_TURNS = 6
"""How many turns of the event loop the commit waits for work that an ``on_kept`` has woken."""


class GroupUnit:
    """One unit of work among those that share a commit.

    Args:
        heartbeat: It holds nothing that would be missed after a power cut; shares no commit with what would.
    """

    def __init__(self, *, heartbeat: bool = False) -> None:
        self.heartbeat = heartbeat
        self.actions: list[Callable[[], None]] = []
        self.hints: list[Callable[[], None]] = []

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        self.actions.append(action)

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is done, just before the commit that it shares."""
        self.hints.append(action)

    def require_whole(self) -> None:
        """Raises what keeps the unit from being committed, also if its owner has passed over it."""


U = TypeVar("U", bound=GroupUnit)
U_contra = TypeVar("U_contra", bound=GroupUnit, contravariant=True)


class GroupWriter(Protocol[U_contra]):
    """The connection on which a group writes. Nothing of it is called while another call of it lasts."""

    def begin(self, *, heartbeat: bool) -> None:
        """Makes ready for a group, whose commit need not reach the disk at once if it is one of heartbeats."""
        ...

    async def admit(self, unit: U_contra) -> None:
        """Lets a unit be the next to work; what it does can be taken back alone."""
        ...

    async def undo(self, unit: U_contra) -> None:
        """Takes back what the unit that works did; those before it keep theirs. If that cannot be, raises."""
        ...

    async def commit(self) -> None:
        """Makes durable what was kept, or raises."""
        ...

    async def give_up(self) -> None:
        """Takes back everything after a failure."""
        ...


class _Ticket(Generic[U]):
    """A place in the queue."""

    def __init__(self, unit: U, task: asyncio.Task[object] | None) -> None:
        loop = asyncio.get_running_loop()
        self.unit = unit
        self.task = task
        self.granted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[bool] = loop.create_future()
        self.durable: asyncio.Future[None] = loop.create_future()


class GroupCommit(Generic[U]):
    """The queue of units that write, and the loop that lets them.

    Args:
        writer: Their connection.
        group_s: How long a group goes on taking in those that queue up.
    """

    def __init__(self, writer: GroupWriter[U], *, group_s: float) -> None:
        self._writer = writer
        self._group_s = group_s
        self._queue: asyncio.Queue[_Ticket[U] | None] = asyncio.Queue()
        self._waiting: _Ticket[U] | None = None
        self._current: _Ticket[U] | None = None
        self._crowded = False
        self._committed_at = 0.0
        self._loop: asyncio.Task[None] | None = None
        self._closing = False
        self.on_group: Callable[[float, int], None] | None = None
        """Told of each commit: its seconds, and how many units of work shared it."""

    def start(self) -> None:
        """Begins to serve the queue."""
        self._loop = asyncio.create_task(self._write_forever(), name="database-writer")

    async def stop(self) -> None:
        """Ends after the units of work that stand in the queue."""
        if self._loop is not None:
            self._closing = True
            self._queue.put_nowait(None)
            await asyncio.wait([self._loop])

    @asynccontextmanager
    async def share(self, unit: U) -> AsyncIterator[U]:
        """Lets a unit work when it is its turn; returns once it is durable."""
        task = asyncio.current_task()
        current = self._current
        if current is not None and current.task is task and not current.ended.done():
            raise RuntimeError("a unit of work was opened inside another: the second would wait for the first for ever")
        if self._closing or self._loop is None:
            raise UnavailableError("SHUTTING_DOWN", "the controller is stopping; try again")
        ticket = _Ticket(unit, task)
        self._queue.put_nowait(ticket)
        kept = False
        try:
            await ticket.granted
            yield unit
            unit.require_whole()
            kept = True
        finally:
            if not ticket.ended.done():
                ticket.ended.set_result(kept)
        # Shielded: a caller that goes away must not take the shared commit with it.
        await asyncio.shield(ticket.durable)

    async def _write_forever(self) -> None:
        while (ticket := await self._next()) is not None:
            await self._write_group(ticket)

    async def _next(self) -> _Ticket[U] | None:
        if self._waiting is not None:
            ticket, self._waiting = self._waiting, None
            return ticket
        return await self._queue.get()

    async def _write_group(self, first: _Ticket[U]) -> None:
        kept: list[_Ticket[U]] = []
        loop = asyncio.get_running_loop()
        try:
            self._writer.begin(heartbeat=first.unit.heartbeat)
            await self._gather(first, kept)
            begun = loop.time()
            await self._writer.commit()
        except Exception as error:  # noqa: BLE001 (each member gets it)
            _refuse(first, error)
            for member in kept:
                _settle(member, error)
            with _logged("a group of writes is not taken back cleanly; the next one begins anew"):
                await self._writer.give_up()
            return
        self._crowded = len(kept) >= _CROWD
        self._committed_at = loop.time()
        # What is durable stays so, and the queue goes on, whatever those who are told of it make of that.
        if self.on_group is not None:
            with _logged(_UNHEARD):
                self.on_group(self._committed_at - begun, len(kept))
        for member in kept:
            for action in member.unit.actions:
                with _logged(_UNHEARD):
                    action()
            _settle(member, None)

    async def _gather(self, first: _Ticket[U], kept: list[_Ticket[U]]) -> None:
        """Lets the first member work, and those that came meanwhile; adds who wants to be committed to `kept`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._group_s
        ticket: _Ticket[U] | None = first
        while ticket is not None:
            followed = False
            if await self._serve(ticket):
                kept.append(ticket)
                for hint in ticket.unit.hints:
                    hint()
                if ticket.unit.hints:
                    followed = await self._let_follow()
            if self._queue.empty() and not self._closing:
                await self._pace(kept)
            late = loop.time() > deadline and not followed
            if self._queue.empty() or len(kept) >= _MEMBERS or late:
                return
            ticket = self._queue.get_nowait()
            if ticket is not None and ticket.unit.heartbeat is not first.unit.heartbeat:
                self._waiting = ticket  # begins the next group, whose commit is another
                return
        self._queue.put_nowait(None)  # the end of the queue, for the loop to see

    async def _pace(self, kept: Sequence[_Ticket[U]]) -> None:
        """Under load a commit waits a moment since the last one, for more to share it; alone it never waits."""
        pause_s = self._committed_at + _PACE_S - asyncio.get_running_loop().time()
        if self._crowded and pause_s > 0 and len(kept) < _MEMBERS:
            await asyncio.sleep(pause_s)

    async def _let_follow(self) -> bool:
        """Gives those who were woken the turns that they need to stand in the queue; says whether somebody does."""
        for _ in range(_FOLLOW_UP_TURNS):
            if not self._queue.empty():
                return True
            await asyncio.sleep(0)
        return not self._queue.empty()

    async def _serve(self, ticket: _Ticket[U]) -> bool:
        """Lets one member work; says whether it wants to be committed."""
        if ticket.granted.done():
            return False
        self._current = ticket
        try:
            await self._admit(ticket)
            if not ticket.granted.done():
                ticket.granted.set_result(None)
                if await ticket.ended:
                    return True
            await self._writer.undo(ticket.unit)
            return False
        finally:
            self._current = None

    async def _admit(self, ticket: _Ticket[U]) -> None:
        try:
            await self._writer.admit(ticket.unit)
        except Exception as error:
            _refuse(ticket, error)
            raise


def _refuse(ticket: _Ticket[Any], error: Exception) -> None:
    if not ticket.granted.done():
        ticket.granted.set_exception(error)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Lets the queue go on after a failure that no member can do anything about."""
    try:
        yield
    except Exception:  # noqa: BLE001 (logged with its traceback)
        _log.exception(what)


def _settle(ticket: _Ticket[Any], error: Exception | None) -> None:
    if ticket.durable.done():
        return
    if error is None:
        ticket.durable.set_result(None)
    else:
        ticket.durable.set_exception(error)
        ticket.durable.exception()  # marked as seen: the caller may have gone
