"""PostgreSQL: several controllers on one database, each with one connection that writes and a pool of those that read.

Nearly all units of work decide on what they have just read. SQLite's single writer makes that exact; READ COMMITTED
alone would not. So units of work that may write stand in a queue, share commits as they do on SQLite (`group_commit`),
and each group takes one advisory lock of the database first: it is alone over all controllers. Units that only read see
one moment beside it. The server gives the lock back with the transaction, also when a controller dies or freezes.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.group_commit import GroupCommit
from lodeworks_controller.storage.database.postgres_address import FROZEN_S, postgres_engine
from lodeworks_controller.storage.database.postgres_clock import PostgresClock
from lodeworks_controller.storage.database.postgres_reader import PostgresReaders, ReadingUnit
from lodeworks_controller.storage.database.postgres_schema import order_by_code_point
from lodeworks_controller.storage.database.postgres_writer import PostgresWriter, WritingUnit
from lodeworks_controller.storage.database.schema import metadata

_GROUP_S = 0.02
"""Longer than on SQLite: a statement is a round trip, and a commit is a disk's and a network's."""
_READERS = 6


class PostgresDatabase:
    """One PostgreSQL database.

    Args:
        url: ``postgresql://[user[:password]@]host[:port]/name``, as libpq reads it.
        readers: Connections for units of work that only read.
        frozen_s: How long a unit of work may do nothing before the server ends it.
    """

    def __init__(self, url: str, *, readers: int = _READERS, frozen_s: float = FROZEN_S) -> None:
        self._url = url
        self._writing = postgres_engine(url, connections=1, frozen_s=frozen_s)
        clock = PostgresClock()
        self._writer = PostgresWriter(self._writing.execution_options(isolation_level="AUTOCOMMIT"), clock=clock)
        self._group = GroupCommit(self._writer, group_s=_GROUP_S)
        self._reading = postgres_engine(url, connections=readers)
        unbound = self._reading.execution_options(isolation_level="AUTOCOMMIT")
        self._readers = PostgresReaders(unbound, most=readers, clock=clock)
        self._open = False

    def measure_commits(self, notice: Callable[[float, int], None]) -> None:
        """Tells of each commit from now on: its seconds, and how many units of work shared it."""
        self._group.on_group = notice

    async def open(self) -> "PostgresDatabase":
        """Connects once, so that a wrong address or a server that is away shows here."""
        self._open = True
        async with self.read():
            self._group.start()
            return self

    async def close(self) -> None:
        """Ends all connections, after the units of work that stand in the queue or are being left."""
        self._open = False
        await self._group.stop()
        await self._writer.give_up()
        await self._readers.close()
        await self._writing.dispose()
        await self._reading.dispose()

    async def create_schema(self) -> None:
        """Creates every table that is missing; migrations do this where a database lives on."""
        engine = postgres_engine(self._url, connections=1)
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.run_sync(order_by_code_point)
        await engine.dispose()

    @asynccontextmanager
    async def write(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[WritingUnit]:
        """Opens a unit of work that may write, alone over all controllers; returns once it is durable."""
        del brief  # of SQLite alone
        async with self._group.share(WritingUnit(self._writer, heartbeat=heartbeat)) as unit:
            yield unit

    @asynccontextmanager
    async def read(self, *, brief: bool = False) -> AsyncIterator[ReadingUnit]:
        """Opens a unit of work that reads one moment's state."""
        del brief
        if not self._open:
            raise UnavailableError("SHUTTING_DOWN", "the controller is stopping; try again")
        async with self._readers.unit() as unit:
            yield unit


def moment_of(connection: Connection) -> datetime:
    """Returns when a unit of work of PostgreSQL began, by the server's clock."""
    assert isinstance(connection, WritingUnit | ReadingUnit)
    return connection.now
