"""SQLite: one writer with group commit, readers beside it.

Reads followed by writes in a deferred transaction fail as "database is locked", and BEGIN IMMEDIATE from several
connections is slow under contention. So there is one writing connection, whose units of work share a COMMIT (one fsync)
with those that queue up meanwhile, each in its own savepoint; see `group_commit`.

A statement of an ordinary unit of work is one trip to the connection's thread. The trip costs several times what a
keyed read or write costs, so the statements of a *brief* unit run where they are asked for; only its commit goes to the
thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.storage.database.connection import Connection, Parameters, Rows
from lodeworks_controller.storage.database.group_commit import GroupCommit, GroupUnit
from lodeworks_controller.storage.database.prepared import is_prepared
from lodeworks_controller.storage.database.schema import metadata
from lodeworks_controller.storage.database.sqlite_session import Session, sqlite_engine

T = TypeVar("T")

_GROUP_S = 0.005
_NEAR_READERS = 2


class _Unit(GroupUnit):
    """One unit of work on a session."""

    def __init__(self, session: Session, *, brief: bool = False, heartbeat: bool = False) -> None:
        super().__init__(heartbeat=heartbeat)
        self._session = session
        self._brief = brief

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


class _Writer:
    """The session that writes, as a group sees it."""

    def __init__(self, session: Session, *, synchronous: str) -> None:
        self._session = session
        self._synchronous = synchronous
        self._now = ""

    def begin(self, *, heartbeat: bool) -> None:
        """Chooses how durable the group's commit is."""
        wanted = "NORMAL" if heartbeat else self._synchronous
        if self._now != wanted:
            self._session.relax(wanted)
            self._now = wanted

    async def admit(self, unit: _Unit) -> None:
        """Does nothing: BEGIN and SAVEPOINT travel with the unit's first statement."""

    async def undo(self, unit: _Unit) -> None:
        """Takes back what the unit did."""
        await self._session.call(lambda: self._session.undo(unit))

    async def commit(self) -> None:
        """Makes durable what was kept."""
        await self._session.call(lambda: self._session.end("COMMIT"))

    async def give_up(self) -> None:
        """Takes back a transaction that a failed COMMIT left open."""
        await self._session.call(self._session.give_up)


class Database:
    """One SQLite file."""

    def __init__(self, path: Path, *, readers: int = 4, synchronous: str = "FULL") -> None:
        if synchronous not in {"FULL", "NORMAL"}:
            raise InvalidError(
                "CONFIG_INVALID", f"synchronous is FULL or NORMAL, not {synchronous!r}", field="synchronous"
            )
        self._path = path
        self._writer = Session(sqlite_engine(path), name="database-writer", begin="BEGIN IMMEDIATE")
        self._group = GroupCommit(_Writer(self._writer, synchronous=synchronous), group_s=_GROUP_S)
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

    def measure_commits(self, notice: Callable[[float, int], None]) -> None:
        """Tells of each commit from now on: its seconds, and how many units of work shared it."""
        self._group.on_group = notice

    async def open(self) -> "Database":
        """Opens the connections and starts the writer."""
        for session in self._all:
            await session.connect()
        for reader in self._readers:
            self._idle.put_nowait(reader)
        self._group.start()
        return self

    async def close(self) -> None:
        """Ends the writer after the units of work that stand in its queue, and closes the connections."""
        await self._group.stop()
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
        async with self._group.share(_Unit(self._writer, brief=brief, heartbeat=heartbeat)) as unit:
            yield unit

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
