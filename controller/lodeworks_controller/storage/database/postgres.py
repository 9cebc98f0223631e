"""PostgreSQL: several controllers on one database, each with a pool of connections.

Nearly all units of work decide on what they have just read. SQLite's single writer makes that exact; READ COMMITTED
alone would not. So a unit of work that may write takes one advisory lock of the database first, and is as alone as on
SQLite, over all controllers; those that only read see one moment beside it. The server gives the lock back with the
transaction, also when a controller dies or freezes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from lodeworks_controller.domain.clock import from_micros
from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Connection, Parameters, Rows
from lodeworks_controller.storage.database.postgres_address import FROZEN_S, postgres_engine
from lodeworks_controller.storage.database.postgres_refusal import AWAY, refusal
from lodeworks_controller.storage.database.postgres_schema import order_by_code_point
from lodeworks_controller.storage.database.schema import metadata

T = TypeVar("T")

_WRITERS = 8
_READERS = 6
_LOCK_KEY = 0x10DE_0001
"""The advisory lock of units of work; a database has locks of its own, so installations do not meet."""
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_ALONE = f"SELECT pg_advisory_xact_lock({_LOCK_KEY}), {_NOW}"
_READ = f"SELECT NULL, {_NOW}"
_FLEETING = ", set_config('synchronous_commit', 'off', true)"
"""For what may be lost with the server's power: its commit does not wait for the disk."""


class _Unit:
    """One unit of work on a connection of the pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._connection = engine.connect()
        self._turn = asyncio.Lock()
        self._started = False
        self.now = from_micros(0)
        self.actions: list[Callable[[], None]] = []

    async def begin(self, statement: str) -> None:
        """Opens the transaction, takes its lock, and then reads the database's clock."""

        async def work() -> None:
            await self._connection.start()
            self._started = True
            micros: int = (await self._connection.exec_driver_sql(statement)).scalars(1).one()
            self.now = from_micros(micros)

        await _whole(self._alone(work()))

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements; a cancellation does not interrupt them."""
        return await _whole(self._alone(self._connection.run_sync(work)))

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        return await self.run(lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        self.actions.append(action)

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable: what is not yet committed, no other connection sees."""
        self.on_commit(action)

    async def commit(self) -> None:
        """Makes it durable, and then runs its actions. A caller that goes away does not leave it in doubt."""

        async def work() -> None:
            await self._connection.commit()
            for action in self.actions:
                action()

        await _whole(self._alone(work()))

    async def leave(self) -> None:
        """Takes back what is not durable, after a statement that a cancelled caller left at work."""
        async with self._turn:
            if self._started:
                with suppress(SQLAlchemyError, PostgresError, InterfaceError, OSError):
                    await self._connection.close()

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._turn:
            try:
                return await work
            except (SQLAlchemyError, PostgresError, InterfaceError, OSError) as error:
                if (known := refusal(error)) is not None:
                    raise known from error
                raise


class PostgresDatabase:
    """One PostgreSQL database.

    Args:
        url: ``postgresql://[user[:password]@]host[:port]/name``, as libpq reads it.
        writers: Connections for units of work that may write.
        readers: Connections for units of work that only read.
        frozen_s: How long a unit of work may do nothing before the server ends it.
    """

    def __init__(
        self, url: str, *, writers: int = _WRITERS, readers: int = _READERS, frozen_s: float = FROZEN_S
    ) -> None:
        self._writing = postgres_engine(url, connections=writers, frozen_s=frozen_s)
        reading = postgres_engine(url, connections=readers)
        self._reading = reading.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # Waiting for a connection here, not in the pool, can be given up.
        self._writers = asyncio.Semaphore(writers)
        self._readers = asyncio.Semaphore(readers)
        self._turn = asyncio.Lock()
        self._inside: set[asyncio.Task[object] | None] = set()
        self.on_group: Callable[[float, int], None] | None = None
        self._open = False
        self._leaving: set[asyncio.Future[None]] = set()

    async def open(self) -> "PostgresDatabase":
        """Connects once, so that a wrong address or a server that is away shows here."""
        self._open = True
        async with self.read():
            return self

    async def close(self) -> None:
        """Ends all connections, after the units of work that are being left."""
        self._open = False
        while self._leaving:
            await asyncio.wait(set(self._leaving))
        await self._writing.dispose()
        await self._reading.dispose()

    async def create_schema(self) -> None:
        """Creates every table that is missing; migrations do this where a database lives on."""
        async with self._writing.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.run_sync(order_by_code_point)

    @asynccontextmanager
    async def write(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[_Unit]:
        """Opens a unit of work that may write, alone over all controllers; returns once it is durable."""
        del brief  # of SQLite alone
        self._refuse_nesting()
        begin = _ALONE + _FLEETING if heartbeat else _ALONE
        # One at a time also here: those that wait for the server's lock would hold the pool's connections.
        async with self._turn, self._writers, self._unit(self._writing, begin) as unit, self._writes(unit):
            yield unit

    @asynccontextmanager
    async def read(self, *, brief: bool = False) -> AsyncIterator[_Unit]:
        """Opens a unit of work that reads one moment's state."""
        del brief
        async with self._readers, self._unit(self._reading, _READ) as unit:
            yield unit

    def _refuse_nesting(self) -> None:
        if asyncio.current_task() in self._inside:
            raise RuntimeError("a unit of work was opened inside another: the second would wait for the first for ever")

    @asynccontextmanager
    async def _writes(self, unit: _Unit) -> AsyncIterator[None]:
        task = asyncio.current_task()
        self._inside.add(task)
        try:
            yield
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await unit.commit()
            if self.on_group is not None:
                self.on_group(loop.time() - begun, 1)
        finally:
            self._inside.discard(task)

    @asynccontextmanager
    async def _unit(self, engine: AsyncEngine, begin: str) -> AsyncIterator[_Unit]:
        if not self._open:
            raise UnavailableError("SHUTTING_DOWN", "the controller is stopping; try again")
        unit = _Unit(engine)
        try:
            try:
                await unit.begin(begin)
            except UnavailableError as error:
                if error.reason != AWAY:
                    raise
                # The pool's connection may be from before the server started anew; nothing was done on it yet.
                await self._leave(unit)
                unit = _Unit(engine)
                await unit.begin(begin)
            yield unit
        finally:
            await self._leave(unit)

    async def _leave(self, unit: _Unit) -> None:
        leaving = asyncio.ensure_future(unit.leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        await asyncio.shield(leaving)


def moment_of(connection: Connection) -> datetime:
    """Returns when a unit of work of PostgreSQL began, by the server's clock."""
    assert isinstance(connection, _Unit)
    return connection.now


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Lets work end, also when its caller was cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_seen)
    return await asyncio.shield(task)


def _seen(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # marked as seen: the caller may have gone
