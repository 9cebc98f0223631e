"""How a controller reads from PostgreSQL: one moment's state for each unit of work, on connections kept for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Parameters, Rows
from lodeworks_controller.storage.database.postgres_clock import CLOCK, PostgresClock
from lodeworks_controller.storage.database.postgres_statements import PostgresStatements
from lodeworks_controller.storage.database.postgres_work import TROUBLE, known, whole
from lodeworks_controller.storage.database.prepared import is_prepared

T = TypeVar("T")

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class ReadingUnit:
    """One unit of work that reads. Its moment begins with its first statement; without one it costs nothing."""

    def __init__(self, pool: "PostgresReaders", clock: PostgresClock) -> None:
        self._pool = pool
        self._clock = clock
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._raw: Any = None
        self.now = clock.now()

    async def ask_the_time(self) -> None:
        """Has the server tell its clock."""

        async def work() -> int:
            micros: int = await self._raw.fetchval(CLOCK)
            return micros

        self._clock.hear(await whole(self._alone(work)))
        self.now = self._clock.now()

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements; a cancellation does not interrupt them."""

        async def run() -> T:
            assert self._connection is not None
            return await self._connection.run_sync(work)

        return await whole(self._alone(run))

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        if is_prepared(statement) and not isinstance(parameters, Sequence):
            given = parameters or {}
            return await whole(self._alone(lambda: self._pool.statements.execute(self._raw, statement, given)))
        return await self.run(lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_commit(self, action: Callable[[], None]) -> None:
        """Does nothing: a unit that only reads commits nothing."""

    def on_kept(self, action: Callable[[], None]) -> None:
        """Does nothing: a unit that only reads keeps nothing."""

    async def leave(self) -> None:
        """Ends it, after a statement that a cancelled caller left at work."""
        async with self._turn:
            connection, raw, self._connection = self._connection, self._raw, None
            if connection is not None:
                await self._pool.take_back(connection, raw)

    async def _alone(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turn:
            if self._connection is None:
                self._connection, self._raw = await self._pool.begun()
            return await known(work())


class PostgresReaders:
    """The connections for units of work that only read.

    Args:
        engine: Makes them, in autocommit: BEGIN and ROLLBACK are sent by us alone.
        most: How many there are at most.
        clock: The server's clock.
    """

    def __init__(self, engine: AsyncEngine, *, most: int, clock: PostgresClock) -> None:
        self._engine = engine
        self._clock = clock
        self._room = asyncio.Semaphore(most)
        self._idle: list[AsyncConnection] = []
        self._leaving: set[asyncio.Future[None]] = set()
        self.statements = PostgresStatements()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[ReadingUnit]:
        """Opens a unit of work."""
        unit = ReadingUnit(self, self._clock)
        try:
            if not self._clock.fresh:
                await unit.ask_the_time()
            yield unit
        finally:
            leaving = asyncio.ensure_future(unit.leave())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            await asyncio.shield(leaving)

    async def close(self) -> None:
        """Ends the connections, after the units of work that are being left."""
        while self._leaving:
            await asyncio.wait(set(self._leaving))
        while self._idle:
            await self._idle.pop().close()

    async def begun(self) -> tuple[AsyncConnection, Any]:
        """Returns a connection with a transaction, and the driver's own."""
        await self._room.acquire()
        try:
            while self._idle:
                with suppress(UnavailableError):
                    # One that was kept may be from before the server started anew; nothing was done on it yet.
                    return await self._begin(self._idle.pop())
            return await self._begin(await known(self._engine.connect()))
        except BaseException:
            self._room.release()
            raise

    async def _begin(self, connection: AsyncConnection) -> tuple[AsyncConnection, Any]:
        try:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await known(raw.execute(_BEGIN))
        except BaseException:
            await _end(connection)
            raise
        return connection, raw

    async def take_back(self, connection: AsyncConnection, raw: Any) -> None:
        """Ends the transaction, and keeps the connection if it is sound."""
        try:
            await raw.execute("ROLLBACK")
            self._idle.append(connection)
        except TROUBLE:
            await _end(connection)
        finally:
            self._room.release()


async def _end(connection: AsyncConnection) -> None:
    with suppress(*TROUBLE):
        await connection.invalidate()
    with suppress(*TROUBLE):
        await connection.close()
