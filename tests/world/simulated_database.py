"""SQLite in memory and in line under the real repositories: one disk, however many controllers open it.

Every unit of work has the disk for itself, as long as its party lives. Triggers keep a history that no code of ours can
forget to write; `violations` holds what must never be stored at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.connection import Connection, Parameters, Rows
from lodeworks_controller.storage.database.schema import metadata
from lodeworks_controller.storage.database.unit import SqlStore
from simulated_loop import PARTY, Party
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable, StaticPool, create_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from simulated_loop import SimulatedLoop

T = TypeVar("T")

_IDLE_IN_TRANSACTION_S = 5.0
_HISTORY = """
CREATE TABLE history (
  n INTEGER PRIMARY KEY, task_id TEXT, before TEXT, after TEXT, epoch_before INTEGER, epoch_after INTEGER, owner TEXT
);
CREATE TABLE violations (n INTEGER PRIMARY KEY, what TEXT);
CREATE TABLE objects (task_id TEXT PRIMARY KEY, state TEXT NOT NULL, lease_epoch INTEGER, digests TEXT);
CREATE TRIGGER world_history_begins AFTER INSERT ON tasks BEGIN
  INSERT INTO history(task_id, before, after, epoch_before, epoch_after, owner)
  VALUES (NEW.id, '', NEW.state, 0, NEW.lease_epoch, NEW.lease_owner);
END;
CREATE TRIGGER world_history_goes_on AFTER UPDATE ON tasks
WHEN OLD.state <> NEW.state OR OLD.lease_epoch <> NEW.lease_epoch BEGIN
  INSERT INTO history(task_id, before, after, epoch_before, epoch_after, owner)
  VALUES (NEW.id, OLD.state, NEW.state, OLD.lease_epoch, NEW.lease_epoch, NEW.lease_owner);
END;
CREATE TRIGGER world_epochs_rise AFTER UPDATE ON tasks
WHEN NEW.lease_epoch < OLD.lease_epoch OR (NEW.state = 'leased' AND OLD.state <> 'leased' AND
  NEW.lease_epoch <= OLD.lease_epoch) BEGIN
  INSERT INTO violations(what) VALUES ('epoch of ' || NEW.id || ' fell or stood: ' || OLD.lease_epoch || ' to '
  || NEW.lease_epoch || ', ' || OLD.state || ' to ' || NEW.state);
END;
CREATE TRIGGER world_gpus_change_hands AFTER UPDATE ON gpu_slots
WHEN OLD.task_id <> '' AND NEW.task_id <> '' AND NEW.task_id <> OLD.task_id BEGIN
  INSERT INTO violations(what) VALUES ('gpu ' || NEW.uuid || ' went from ' || OLD.task_id || ' to ' || NEW.task_id);
END;
CREATE TRIGGER world_success_stays AFTER UPDATE ON attempts
WHEN OLD.outcome = 'succeeded' AND NEW.outcome IS NOT 'succeeded' BEGIN
  INSERT INTO violations(what) VALUES ('the success of ' || NEW.task_id || '-' || NEW.lease_epoch || ' was undone');
END;
CREATE TRIGGER world_objects_stay AFTER UPDATE ON objects WHEN OLD.state = 'ready' BEGIN
  INSERT INTO violations(what) VALUES ('the object of ' || NEW.task_id || ' was made twice');
END;
CREATE TRIGGER world_audit_stays AFTER UPDATE ON audit BEGIN
  INSERT INTO violations(what) VALUES ('the audit log was changed at ' || OLD.id);
END;
CREATE TRIGGER world_audit_is_kept AFTER DELETE ON audit BEGIN
  INSERT INTO violations(what) VALUES ('the audit log lost ' || OLD.id);
END;
"""


@cache
def _connected() -> tuple[SqlConnection, sqlite3.Connection]:
    """Returns the one connection of this process: statements are compiled once for all schedules."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT", connect_args={"check_same_thread": False}
    )
    connection = engine.connect()
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return connection, raw


@cache
def empty_image() -> bytes:
    """Returns a database with every table and the history, and nothing in it."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        metadata.create_all(connection)
        connection.commit()
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.executescript(_HISTORY)
        image = raw.serialize()
    engine.dispose()
    return image


class SimulatedDisk:
    """The database itself; outlives every controller."""

    def __init__(self, loop: SimulatedLoop, *, delay: Callable[[], float]) -> None:
        self._loop = loop
        self._delay = delay
        self.connection, self._raw = _connected()
        if self._raw.in_transaction:
            self._raw.rollback()
        self._raw.deserialize(empty_image())
        self._raw.execute("PRAGMA foreign_keys = ON")
        self._holder: _Unit | None = None
        self._queue: deque[tuple[_Unit, asyncio.Future[None]]] = deque()
        self.commits = 0

    def open(self, party: Party | None, *, clock: Any, ids: Any) -> SqlStore:
        """Returns the store of a controller; what its death leaves open is rolled back."""
        if party is not None:
            party.on_death.append(lambda: self._bury(party))
        return SqlStore(SimulatedDatabase(self), clock=clock, ids=ids)  # type: ignore[arg-type]

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Reads beside everybody; for the invariants, between two units of work."""
        return self._raw.execute(statement, values).fetchall()

    async def enter(self, unit: _Unit) -> None:
        """Waits for the disk."""
        await asyncio.sleep(self._delay())
        if self._holder is None and not self._queue:
            self._take(unit)
            return
        if self._holder is not None and self._holder.task is unit.task:
            raise RuntimeError("a unit of work was opened inside another: on PostgreSQL they could wait for each other")
        turn = self._loop.create_future()
        self._queue.append((unit, turn))
        self._loop.in_sky(_IDLE_IN_TRANSACTION_S, self._break, self._holder)
        try:
            await turn
        except asyncio.CancelledError:
            if unit is self._holder:
                self.leave(unit, "ROLLBACK")
            else:
                self._queue = deque(one for one in self._queue if one[0] is not unit)
            raise

    def leave(self, unit: _Unit, statement: str) -> None:
        """Ends a unit of work and lets the next one in."""
        if unit is not self._holder:
            raise UnavailableError("DATABASE", "the database gave up the transaction; try again")
        self._holder = None
        self.connection.exec_driver_sql(statement)
        self.commits += statement == "COMMIT"
        while self._queue:
            following, turn = self._queue.popleft()
            if not turn.done() and not (following.party and following.party.dead):
                self._take(following)
                turn.set_result(None)
                return

    def execute(self, unit: _Unit, work: Callable[[SqlConnection], T]) -> T:
        """Does the work of whoever has the disk."""
        if unit is not self._holder:
            raise UnavailableError("DATABASE", "the database gave up the transaction; try again")
        return work(self.connection)

    def _take(self, unit: _Unit) -> None:
        self._holder = unit
        self.connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _break(self, unit: _Unit | None) -> None:
        """Takes the disk from a frozen controller, as a database server does with a client that says nothing."""
        if unit is not None and unit is self._holder:
            self.leave(unit, "ROLLBACK")

    def _bury(self, party: Party) -> None:
        holder = self._holder
        if holder is not None and holder.party is party:
            self.leave(holder, "ROLLBACK")


class _Unit:
    """One unit of work."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self.party = PARTY.get()
        self.task = asyncio.current_task()
        self.actions: list[Callable[[], None]] = []
        self.early: list[Callable[[], None]] = []

    async def run(self, work: Callable[[SqlConnection], T]) -> T:
        await asyncio.sleep(0)
        return self._disk.execute(self, work)

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        await asyncio.sleep(0)
        return self._disk.execute(self, lambda connection: Rows.of(connection.execute(statement, parameters)))

    def on_kept(self, action: Callable[[], None]) -> None:
        self.early.append(action)

    def on_commit(self, action: Callable[[], None]) -> None:
        self.actions.append(action)


class SimulatedDatabase:
    """What one controller opens of the disk."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk

    @asynccontextmanager
    async def write(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[Connection]:
        unit = _Unit(self._disk)
        await self._disk.enter(unit)
        try:
            yield unit
        except BaseException:
            self._give_up(unit)
            raise
        for action in unit.early:
            action()
        self._disk.leave(unit, "COMMIT")
        for action in unit.actions:
            action()
        # Durable, and the caller does not know yet: whoever dies now has done it all the same.
        await asyncio.sleep(self._disk._delay())

    @asynccontextmanager
    async def read(self, *, brief: bool = False) -> AsyncIterator[Connection]:
        unit = _Unit(self._disk)
        await self._disk.enter(unit)
        try:
            yield unit
        finally:
            self._give_up(unit)

    def _give_up(self, unit: _Unit) -> None:
        if unit is self._disk._holder:
            self._disk.leave(unit, "ROLLBACK")

    async def close(self) -> None:
        """Nothing to close: the disk stays."""
