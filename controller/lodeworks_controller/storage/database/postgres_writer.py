"""How a controller writes to PostgreSQL: on one connection, under one lock, with savepoints and a shared commit."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from lodeworks_controller.domain.clock import from_micros
from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Parameters, Rows
from lodeworks_controller.storage.database.group_commit import GroupUnit
from lodeworks_controller.storage.database.postgres_clock import CLOCK, PostgresClock
from lodeworks_controller.storage.database.postgres_refusal import AWAY
from lodeworks_controller.storage.database.postgres_statements import PostgresStatements
from lodeworks_controller.storage.database.postgres_work import TROUBLE, known, whole
from lodeworks_controller.storage.database.prepared import is_prepared

T = TypeVar("T")

_LOCK_KEY = 0x10DE_0001
"""The advisory lock of units of work; a database has locks of its own, so installations do not meet."""
_ALONE = f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"
_BEGIN = f"BEGIN; {_ALONE}"
_BEGIN_FLEETING = f"BEGIN; SET LOCAL synchronous_commit = off; {_ALONE}"
"""For what may be lost with the server's power: its commit does not wait for the disk."""
_SECOND = "SAVEPOINT member"
_NEXT = "RELEASE SAVEPOINT member; SAVEPOINT member"
_BACK = "ROLLBACK TO SAVEPOINT member"


class WritingUnit(GroupUnit):
    """One unit of work that may write."""

    def __init__(self, writer: "PostgresWriter", *, heartbeat: bool) -> None:
        super().__init__(heartbeat=heartbeat)
        self._writer = writer
        self._error: Exception | None = None
        self.now = from_micros(0)

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements; a cancellation does not interrupt them."""
        return await self._whole(self._writer.run(work))

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Executes one statement and returns all its rows."""
        if is_prepared(statement) and not isinstance(parameters, Sequence):
            return await self._whole(self._writer.execute_prepared(statement, parameters or {}))
        return await self.run(lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable: what is not yet committed, no other connection sees."""
        self.on_commit(action)

    def require_whole(self) -> None:
        """Raises the failure of a statement: after it the server carries out nothing more of the unit."""
        if self._error is not None:
            raise self._error

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await whole(work)
        except Exception as error:
            self._error = error
            raise


class PostgresWriter:
    """The connection on which groups write.

    Args:
        engine: Makes it, in autocommit: BEGIN and COMMIT are sent by us alone.
        clock: The server's clock, asked once for each group.
    """

    def __init__(self, engine: AsyncEngine, *, clock: PostgresClock) -> None:
        self._engine = engine
        self._clock = clock
        self._statements = PostgresStatements()
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._raw: Any = None
        self._begin = _BEGIN
        self._members = 0

    def begin(self, *, heartbeat: bool) -> None:
        """Chooses how durable the group's commit is."""
        self._begin = _BEGIN_FLEETING if heartbeat else _BEGIN

    async def admit(self, unit: WritingUnit) -> None:
        """Takes the lock for the first unit, and a savepoint for each that follows."""
        async with self._turn:
            if self._members:
                await known(self._raw.execute(_NEXT if self._members > 1 else _SECOND))
            else:
                await self._open()
            self._members += 1
        unit.now = self._clock.now()

    async def undo(self, unit: WritingUnit) -> None:
        """Takes back what the unit did, after a statement that a cancelled caller left at work."""
        del unit
        async with self._turn:
            if self._members > 1:
                await known(self._raw.execute(_BACK))
            elif self._members:
                self._members = 0
                await known(self._raw.execute("ROLLBACK"))

    async def commit(self) -> None:
        """Makes durable what was kept, and gives the lock back."""
        async with self._turn:
            if not self._members:
                return
            self._members = 0
            if await known(self._raw.execute("COMMIT")) != "COMMIT":
                raise UnavailableError("DATABASE", "the database gave up the transaction; try again")

    async def give_up(self) -> None:
        """Leaves the connection: what was done on it is taken back with it."""
        async with self._turn:
            await self._drop()

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        """Runs several statements of the unit that works."""
        async with self._turn:
            return await known(self._here().run_sync(work))

    async def execute_prepared(self, statement: Executable, parameters: Any) -> Rows:
        """Executes a statement that was marked as prepared, for the unit that works."""
        async with self._turn:
            self._here()
            return await known(self._statements.execute(self._raw, statement, parameters))

    def _here(self) -> AsyncConnection:
        if self._connection is None or not self._members:
            raise UnavailableError("DATABASE", "the database gave up the transaction; try again")
        return self._connection

    async def _open(self) -> None:
        fresh = self._connection is None
        try:
            await self._start()
        except UnavailableError as error:
            if fresh or error.reason != AWAY:
                raise
            # The connection may be from before the server started anew; nothing was done on it yet.
            await self._drop()
            await self._start()

    async def _start(self) -> None:
        if self._connection is None:
            self._connection = await known(self._engine.connect())
            self._raw = (await self._connection.get_raw_connection()).driver_connection
        await known(self._raw.execute(self._begin))
        self._clock.hear(await known(self._raw.fetchval(CLOCK)))

    async def _drop(self) -> None:
        connection, self._connection, self._raw, self._members = self._connection, None, None, 0
        if connection is not None:
            with suppress(*TROUBLE):
                await connection.invalidate()
            with suppress(*TROUBLE):
                await connection.close()
