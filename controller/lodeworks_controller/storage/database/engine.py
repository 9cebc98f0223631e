"""SQLite: one writer behind a queue with group commit, readers beside it.

Reads followed by writes in a deferred transaction fail as "database is locked", and BEGIN IMMEDIATE from several
connections is slow under contention. So there is one writing connection, its transactions stand in a queue, and those
that queue up while one works share a single COMMIT (one fsync): each has its own savepoint, none returns before the
shared commit is durable.

A statement of an ordinary unit of work is one trip to the connection's thread. The trip costs several times what a
keyed read or write costs, so the statements of a *brief* unit run where they are asked for; only its commit goes to the
thread. What a unit calls by ``on_kept`` runs before that commit: who wakes by it and writes in turn shares its fsync.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable

from lodeworks_controller.errors import InvalidError, UnavailableError
from lodeworks_controller.storage.database.connection import Connection, Parameters, Rows
from lodeworks_controller.storage.database.prepared import is_prepared
from lodeworks_controller.storage.database.schema import metadata
from lodeworks_controller.storage.database.sqlite_session import Session, sqlite_engine

T = TypeVar("T")

_GROUP_MEMBERS = 64
_GROUP_S = 0.005
_NEAR_READERS = 2
_CROWD = 8
"""So many members make a group a crowd."""
_PACE_S = 0.004
_FOLLOW_UP_TURNS = 6
"""How many turns of the event loop the commit waits for work that an ``on_kept`` has woken."""


class _Unit:
    """One unit of work on a session."""

    def __init__(self, session: Session, *, brief: bool = False, heartbeat: bool = False) -> None:
        self._session = session
        self._brief = brief
        self.heartbeat = heartbeat
        self.actions: list[Callable[[], None]] = []
        self.hints: list[Callable[[], None]] = []

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements in one trip to the connection's thread; a brief unit needs no trip."""
        if self._brief:
            return self._session.execute(self, work)
        return await self._session.call(lambda: self._session.execute(self, work))

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        if is_prepared(statement) and not isinstance(parameters, Sequence):
            if self._brief:
                return self._session.execute_prepared(self, statement, parameters or {})
            return await self._session.call(lambda: self._session.execute_prepared(self, statement, parameters or {}))
        return await self.run(lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        self.actions.append(action)

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is done, just before the commit that it shares."""
        self.hints.append(action)


class _Ticket:
    """A place in the writer's queue."""

    def __init__(self, unit: _Unit, task: asyncio.Task[object] | None) -> None:
        loop = asyncio.get_running_loop()
        self.unit = unit
        self.task = task
        self.granted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[bool] = loop.create_future()
        self.durable: asyncio.Future[None] = loop.create_future()


class Database:
    """One SQLite file."""

    def __init__(self, path: Path, *, readers: int = 4, synchronous: str = "FULL") -> None:
        if synchronous not in {"FULL", "NORMAL"}:
            raise InvalidError(
                "CONFIG_INVALID", f"synchronous is FULL or NORMAL, not {synchronous!r}", field="synchronous"
            )
        self._path = path
        self._synchronous = synchronous
        self._writer = Session(sqlite_engine(path), name="database-writer", begin="BEGIN IMMEDIATE")
        self._readers = [
            Session(sqlite_engine(path, read_only=True), name=f"database-reader-{number}", begin="BEGIN")
            for number in range(readers)
        ]
        self._near = [
            Session(sqlite_engine(path, read_only=True), name=f"database-near-{number}", begin="BEGIN")
            for number in range(_NEAR_READERS)
        ]
        self._all = [self._writer, *self._readers, *self._near]
        self._idle: asyncio.Queue[Session] = asyncio.Queue()
        self._queue: asyncio.Queue[_Ticket | None] = asyncio.Queue()
        self._waiting: _Ticket | None = None
        self._current: _Ticket | None = None
        self._crowded = False
        self._committed_at = 0.0
        self._loop: asyncio.Task[None] | None = None
        self._closing = False
        self.on_group: Callable[[float, int], None] | None = None
        """Told of each commit: its seconds, and how many units of work shared it."""

    async def open(self) -> "Database":
        """Opens the connections and starts the writer."""
        for session in self._all:
            await session.connect()
        self._writer.relax(self._synchronous)
        for reader in self._readers:
            self._idle.put_nowait(reader)
        self._loop = asyncio.create_task(self._write_forever(), name="database-writer")
        return self

    async def close(self) -> None:
        """Ends the writer after the units of work that stand in its queue, and closes the connections."""
        if self._loop is not None:
            self._closing = True
            self._queue.put_nowait(None)
            await asyncio.wait([self._loop])
        for session in self._all:
            await session.close()

    async def create_schema(self) -> None:
        """Creates every table that is missing; migrations do this where a database lives on."""

        def work() -> None:
            engine = sqlite_engine(self._path)
            metadata.create_all(engine)
            engine.dispose()

        await self._writer.call(work)

    @asynccontextmanager
    async def write(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[Connection]:
        """Opens a unit of work that may write; returns once it is durable.

        Args:
            brief: Its statements touch few rows by key, and run in the caller's thread.
            heartbeat: It holds nothing that would be missed after a power cut; shares no commit with what would.
        """
        task = asyncio.current_task()
        current = self._current
        if current is not None and current.task is task and not current.ended.done():
            raise RuntimeError("a unit of work was opened inside another: the second would wait for the first for ever")
        if self._closing or self._loop is None:
            raise UnavailableError("SHUTTING_DOWN", "the controller is stopping; try again")
        unit = _Unit(self._writer, brief=brief, heartbeat=heartbeat)
        ticket = _Ticket(unit, task)
        self._queue.put_nowait(ticket)
        kept = False
        try:
            await ticket.granted
            yield unit
            kept = True
        finally:
            if not ticket.ended.done():
                ticket.ended.set_result(kept)
        # Shielded: a caller that goes away must not take the shared commit with it.
        await asyncio.shield(ticket.durable)

    @asynccontextmanager
    async def read(self, *, brief: bool = False) -> AsyncIterator[Connection]:
        """Opens a unit of work that reads one moment's state, beside the writer; a brief one in the caller's thread."""
        if brief and self._near:
            session = self._near.pop()
            try:
                yield _Unit(session, brief=True)
            finally:
                session.end("ROLLBACK")
                self._near.append(session)
            return
        session = await self._idle.get()
        try:
            yield _Unit(session)
        finally:
            ending = asyncio.ensure_future(session.call(lambda: session.end("ROLLBACK")))
            ending.add_done_callback(lambda _: self._idle.put_nowait(session))

    async def _write_forever(self) -> None:
        while (ticket := await self._next()) is not None:
            await self._write_group(ticket)

    async def _next(self) -> _Ticket | None:
        if self._waiting is not None:
            ticket, self._waiting = self._waiting, None
            return ticket
        return await self._queue.get()

    async def _write_group(self, first: _Ticket) -> None:
        kept: list[_Ticket] = []
        heartbeat = first.unit.heartbeat
        if heartbeat:
            self._writer.relax("NORMAL")
        try:
            await self._gather(first, kept)
            begun = asyncio.get_running_loop().time()
            await self._writer.call(lambda: self._writer.end("COMMIT"))
            if self.on_group is not None:
                self.on_group(asyncio.get_running_loop().time() - begun, len(kept))
        except Exception as error:  # noqa: BLE001 (each member gets it)
            await self._writer.call(self._writer.give_up)
            for member in kept:
                _settle(member, error)
            return
        finally:
            if heartbeat:
                self._writer.relax(self._synchronous)
        self._crowded = len(kept) >= _CROWD
        self._committed_at = asyncio.get_running_loop().time()
        for member in kept:
            for action in member.unit.actions:
                action()
            _settle(member, None)

    async def _gather(self, first: _Ticket, kept: list[_Ticket]) -> None:
        """Lets the first member work, and those that came meanwhile; adds who wants to be committed to `kept`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GROUP_S
        ticket: _Ticket | None = first
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
            if self._queue.empty() or len(kept) >= _GROUP_MEMBERS or late:
                return
            ticket = self._queue.get_nowait()
            if ticket is not None and ticket.unit.heartbeat is not first.unit.heartbeat:
                self._waiting = ticket  # begins the next group, whose commit is another
                return
        self._queue.put_nowait(None)  # the end of the queue, for the loop to see

    async def _pace(self, kept: Sequence[_Ticket]) -> None:
        """Under load a commit waits a moment since the last one, for more to share it; alone it never waits."""
        pause_s = self._committed_at + _PACE_S - asyncio.get_running_loop().time()
        if self._crowded and pause_s > 0 and len(kept) < _GROUP_MEMBERS:
            await asyncio.sleep(pause_s)

    async def _let_follow(self) -> bool:
        """Gives those who were woken the turns that they need to stand in the queue; says whether somebody does."""
        for _ in range(_FOLLOW_UP_TURNS):
            if not self._queue.empty():
                return True
            await asyncio.sleep(0)
        return not self._queue.empty()

    async def _serve(self, ticket: _Ticket) -> bool:
        """Lets one member work; says whether it wants to be committed."""
        if ticket.granted.done():
            return False
        self._current = ticket
        ticket.granted.set_result(None)
        try:
            if await ticket.ended:
                return True
            await self._writer.call(lambda: self._writer.undo(ticket.unit))
            return False
        finally:
            self._current = None


def _settle(ticket: _Ticket, error: Exception | None) -> None:
    if ticket.durable.done():
        return
    if error is None:
        ticket.durable.set_result(None)
    else:
        ticket.durable.set_exception(error)
        ticket.durable.exception()  # marked as seen: the caller may have gone
