"""One SQLite connection: how it is opened, and whose work stands in its transaction."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Executable, create_engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from lodeworks_controller.errors import ExhaustedError, UnavailableError
from lodeworks_controller.storage.database.connection import Rows
from lodeworks_controller.storage.database.prepared import Compiled

T = TypeVar("T")

_BUSY_MS = 5_000
_DISK_FULL = "the controller's disk is full; make room and repeat"


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


class Session:
    """One connection. Its own thread runs what is asked of it, or its owner does; never both at once."""

    def __init__(self, engine: Engine, *, name: str, begin: str) -> None:
        self._engine = engine
        self._begin = begin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: SqlConnection | None = None
        self._raw: sqlite3.Connection | None = None
        self._open = False
        self._members = 0
        self._member: object | None = None
        self._dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
        self._compiled: dict[Executable, Compiled] = {}

    async def call(self, work: Callable[[], T]) -> T:
        """Runs work in the thread; work begun is not interrupted by a cancellation."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def connect(self) -> None:
        """Opens the connection."""

        def work() -> None:
            self._connection = self._engine.connect()
            raw = self._connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            self._raw = raw

        await self.call(work)

    async def close(self) -> None:
        """Closes the connection and ends the thread."""

        def work() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = self._raw = None
            self._engine.dispose()

        await self.call(work)
        self._thread.shutdown(wait=True)

    def execute(self, member: object, work: Callable[[SqlConnection], T]) -> T:
        """Runs work for one member of the group, opening the transaction or the member's savepoint first."""
        connection = self._connection
        assert connection is not None
        try:
            self._enter(member)
            return work(connection)
        except (OperationalError, sqlite3.OperationalError) as error:
            if _disk_full(error):
                raise ExhaustedError("DISK_FULL", _DISK_FULL) from error
            raise

    def execute_prepared(self, member: object, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        """Executes a statement that was marked as prepared, for one member of the group."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Compiled(statement, parameters, dialect=self._dialect)
        try:
            cursor = self._enter(member).execute(compiled.text, compiled.values(parameters))
            if compiled.returns_rows:
                return compiled.answer(cursor.fetchall())
            return Rows((), rowcount=cursor.rowcount)
        except sqlite3.OperationalError as error:
            if _disk_full(error):
                raise ExhaustedError("DISK_FULL", _DISK_FULL) from error
            raise
        except sqlite3.IntegrityError as error:
            raise IntegrityError(compiled.text, None, error) from error

    def _enter(self, member: object) -> sqlite3.Connection:
        raw = self._raw
        assert raw is not None
        if self._open and not raw.in_transaction:
            # On a full disk SQLite takes back the whole transaction by itself; a savepoint would begin another one,
            # whose commit would count for the members that lost what they did.
            raise UnavailableError("DATABASE", "the database gave up the transaction; try again")
        if self._member is not member:
            self._begin_member(raw, member)
        return raw

    def _begin_member(self, raw: sqlite3.Connection, member: object) -> None:
        if not self._open:
            raw.execute(self._begin)
            self._open = True
        if self._members:
            raw.execute("SAVEPOINT member")
        self._members += 1
        self._member = member

    def undo(self, member: object) -> None:
        """Takes back what the member did; the members before it keep theirs."""
        raw = self._raw
        if raw is None or self._member is not member or not raw.in_transaction:
            return
        self._member = None
        self._members -= 1
        if self._members:
            raw.execute("ROLLBACK TO member")
            raw.execute("RELEASE member")
        else:
            raw.execute("ROLLBACK")
            self._open = False

    def end(self, statement: str) -> None:
        """Ends the transaction by COMMIT or ROLLBACK, if one is open."""
        opened, self._open, self._members, self._member = self._open, False, 0, None
        if self._raw is not None and opened:
            self._raw.execute(statement)

    def give_up(self) -> None:
        """Takes back a transaction that a failed COMMIT left open."""
        if self._raw is not None and self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    def relax(self, synchronous: str) -> None:
        """Chooses how durable the commits that follow are; outside of a transaction only."""
        if self._raw is not None:
            self._raw.execute(f"PRAGMA synchronous = {synchronous}")


def _disk_full(error: Exception) -> bool:
    return "disk is full" in str(error)
