"""SQLite: one writer behind a queue with group commit, readers beside it.

Reads followed by writes in a deferred transaction fail as "database is locked", and BEGIN IMMEDIATE from several
connections is slow under contention. So there is one writing connection, its transactions stand in a queue, and those
that queue up while one works share a single COMMIT (one fsync): each has its own savepoint, none returns before the
shared commit is durable.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Executable, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from lodeworks_controller.errors import ExhaustedError, UnavailableError
from lodeworks_controller.storage.database.connection import Connection, Parameters, Rows
from lodeworks_controller.storage.database.schema import metadata

T = TypeVar("T")

_GROUP_MEMBERS = 64
_GROUP_S = 0.005
_BUSY_MS = 5_000


def sqlite_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Returns an engine whose connections are in autocommit: BEGIN and COMMIT are sent by us alone."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    return engine


class _Session:
    """One connection and the only thread that touches it."""

    def __init__(self, engine: Engine, *, name: str, begin: str) -> None:
        self._engine = engine
        self._begin = begin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: SqlConnection | None = None
        self._open = False
        self._members = 0
        self._member: object | None = None

    async def call(self, work: Callable[[], T]) -> T:
        """Runs work in the thread; work begun is not interrupted by a cancellation."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def connect(self) -> None:
        """Opens the connection."""

        def work() -> None:
            self._connection = self._engine.connect()

        await self.call(work)

    async def close(self) -> None:
        """Closes the connection and ends the thread."""

        def work() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._engine.dispose()

        await self.call(work)
        self._thread.shutdown(wait=True)

    def execute(self, member: object, work: Callable[[SqlConnection], T]) -> T:
        """Runs work for one member of the group, opening the transaction or the member's savepoint first."""
        connection = self._connection
        assert connection is not None
        try:
            if self._member is not member:
                self._enter(connection, member)
            if not _in_transaction(connection):
                raise UnavailableError("DATABASE", "the database gave up the transaction; try again")
            return work(connection)
        except OperationalError as error:
            if "disk is full" in str(error.orig):
                raise ExhaustedError("DISK_FULL", "the controller's disk is full; make room and repeat") from error
            raise

    def _enter(self, connection: SqlConnection, member: object) -> None:
        if not self._open:
            connection.exec_driver_sql(self._begin)
            self._open = True
        if self._members:
            connection.exec_driver_sql("SAVEPOINT member")
        self._members += 1
        self._member = member

    def undo(self, member: object) -> None:
        """Takes back what the member did; the members before it keep theirs."""
        connection = self._connection
        if connection is None or self._member is not member or not _in_transaction(connection):
            return
        self._member = None
        self._members -= 1
        if self._members:
            connection.exec_driver_sql("ROLLBACK TO member")
            connection.exec_driver_sql("RELEASE member")
        else:
            connection.exec_driver_sql("ROLLBACK")
            self._open = False

    def end(self, statement: str) -> None:
        """Ends the transaction by COMMIT or ROLLBACK, if one is open."""
        connection = self._connection
        opened, self._open, self._members, self._member = self._open, False, 0, None
        if connection is not None and opened:
            connection.exec_driver_sql(statement)


def _in_transaction(connection: SqlConnection) -> bool:
    raw = connection.connection.dbapi_connection
    return isinstance(raw, sqlite3.Connection) and raw.in_transaction


class _Unit:
    """One unit of work on a session."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self.actions: list[Callable[[], None]] = []

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements in one trip to the connection's thread."""
        return await self._session.call(lambda: self._session.execute(self, work))

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        return await self.run(lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        self.actions.append(action)


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

    def __init__(self, path: Path, *, readers: int = 4) -> None:
        self._path = path
        self._writer = _Session(sqlite_engine(path), name="database-writer", begin="BEGIN IMMEDIATE")
        self._readers = [
            _Session(sqlite_engine(path, read_only=True), name=f"database-reader-{number}", begin="BEGIN")
            for number in range(readers)
        ]
        self._idle: asyncio.Queue[_Session] = asyncio.Queue()
        self._queue: asyncio.Queue[_Ticket | None] = asyncio.Queue()
        self._current: _Ticket | None = None
        self._loop: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> "Database":
        """Opens the connections and starts the writer."""
        await self._writer.connect()
        for reader in self._readers:
            await reader.connect()
            self._idle.put_nowait(reader)
        self._loop = asyncio.create_task(self._write_forever(), name="database-writer")
        return self

    async def close(self) -> None:
        """Ends the writer after the units of work that stand in its queue, and closes the connections."""
        if self._loop is not None:
            self._closing = True
            self._queue.put_nowait(None)
            await asyncio.wait([self._loop])
        for session in (self._writer, *self._readers):
            await session.close()

    async def create_schema(self) -> None:
        """Creates every table that is missing; migrations do this where a database lives on."""

        def work() -> None:
            engine = sqlite_engine(self._path)
            metadata.create_all(engine)
            engine.dispose()

        await self._writer.call(work)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """Opens a unit of work that may write; returns once it is durable."""
        task = asyncio.current_task()
        current = self._current
        if current is not None and current.task is task and not current.ended.done():
            raise RuntimeError("a unit of work was opened inside another: the second would wait for the first for ever")
        if self._closing or self._loop is None:
            raise UnavailableError("SHUTTING_DOWN", "the controller is stopping; try again")
        unit = _Unit(self._writer)
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
    async def read(self) -> AsyncIterator[Connection]:
        """Opens a unit of work that reads one moment's state, beside the writer."""
        session = await self._idle.get()
        try:
            yield _Unit(session)
        finally:
            ending = asyncio.ensure_future(session.call(lambda: session.end("ROLLBACK")))
            ending.add_done_callback(lambda _: self._idle.put_nowait(session))

    async def _write_forever(self) -> None:
        while (ticket := await self._queue.get()) is not None:
            await self._write_group(ticket)

    async def _write_group(self, first: _Ticket) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GROUP_S
        kept: list[_Ticket] = []
        ticket: _Ticket | None = first
        while ticket is not None:
            if await self._serve(ticket):
                kept.append(ticket)
            if self._queue.empty() or len(kept) >= _GROUP_MEMBERS or loop.time() > deadline:
                break
            ticket = self._queue.get_nowait()
        if ticket is None:
            self._queue.put_nowait(None)  # the end of the queue, for the loop to see
        try:
            await self._writer.call(lambda: self._writer.end("COMMIT"))
        except Exception as error:  # noqa: BLE001 (each member gets it)
            for member in kept:
                _settle(member, error)
            return
        for member in kept:
            for action in member.unit.actions:
                action()
            _settle(member, None)

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
