"""What survives the worker: every run that it holds, how far it came, and outcomes that nobody has confirmed yet.

The order of writes is what makes kill -9 harmless: a grant is journaled before anything is done about it, STAGED
before the driver is asked to start, an outcome with its request id before it is sent, and an entry is deleted only
after the controller has answered. Whatever happens between two of these is repeated, and may be repeated.

A reserve beside the file is given up when the disk is full: the outcome that says so can still be written down.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

from lodeworks_worker.drivers.base import Exit, RunHandle
from lodeworks_worker.grant import Grant
from lodeworks_worker.outcome import FailureReason, Judgement, Outcome
from lodeworks_worker.putting_down import in_thread
from lodeworks_worker.stored import from_plain, to_plain

_T = TypeVar("_T")
_RESERVE_BYTES = 1 << 20
_PAGES_OF_LOG = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  task_id TEXT NOT NULL, lease_epoch INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (task_id, lease_epoch)
) WITHOUT ROWID
"""


class RunPhase(Enum):
    """How far a run came. Each says what is done, so what follows may have begun."""

    GRANTED = "granted"
    STAGED = "staged"
    STARTED = "started"
    EXITED = "exited"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Offsets:
    """How much of a run's logs and metrics the controller has.

    `driver` belongs to `out`: the driver's own offset behind the `out` bytes of decoded output. `metrics_bytes` is
    the place in the metrics file behind `metrics` points; `events` is the place in each event file, by its path.
    """

    driver: int = 0
    out: int = 0
    worker: int = 0
    metrics: int = 0
    metrics_bytes: int = 0
    events: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One run as the journal knows it.

    `ending` is set once somebody has ordered the run to end: its reason then names the outcome. `verdict` is set when
    the run cannot go on in this worker, whatever its exit.
    """

    grant: Grant
    phase: RunPhase = RunPhase.GRANTED
    handle: RunHandle | None = None
    exit: Exit | None = None
    ending: FailureReason | None = None
    ending_message: str = ""
    verdict: Judgement | None = None
    offsets: Offsets = field(default_factory=Offsets)
    started_at: float = 0.0
    ended_at: float = 0.0
    outcome: Outcome | None = None


class Journal:
    """The runs of this worker in one SQLite file, synchronous FULL; a thread of its own does the writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Opens the file, making it if need be."""
        await self._do(lambda _connection: None)

    async def close(self) -> None:
        """Closes the file."""
        if self._connection is not None:
            await self._do(lambda connection: connection.close())
            self._connection = None
        self._thread.shutdown()

    async def save(self, entry: Entry) -> None:
        """Stores an entry; it is on disk when this returns."""
        body = json.dumps(to_plain(entry), separators=(",", ":"))
        key = (entry.grant.task_id, entry.grant.lease_epoch)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (*key, body))

        await self._do(write)

    async def forget(self, entry: Entry) -> None:
        """Deletes an entry: the controller has confirmed its outcome, or has taken the lease away."""
        key = (entry.grant.task_id, entry.grant.lease_epoch)

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM runs WHERE task_id = ? AND lease_epoch = ?", key)

        await self._do(delete)

    async def entries(self) -> Sequence[Entry]:
        """Returns all entries."""

        def read(connection: sqlite3.Connection) -> list[str]:
            return [row[0] for row in connection.execute("SELECT body FROM runs ORDER BY task_id, lease_epoch")]

        return [from_plain(Entry, json.loads(body)) for body in await self._do(read)]

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await in_thread(lambda: self._robust(work), threads=self._thread)

    def _robust(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            done = work(self._opened())
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._reserve.exists():
                raise
            self._reserve.unlink()
            return work(self._opened())
        self._keep_reserve()
        return done

    def _keep_reserve(self) -> None:
        if self._connection is None or self._reserve.exists():
            return
        temporary = self._reserve.with_suffix(".tmp")
        try:
            temporary.write_bytes(bytes(_RESERVE_BYTES))
            temporary.replace(self._reserve)
        except OSError:  # no room for it now: the next write tries again
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_OF_LOG}")
            connection.execute(_SCHEMA)
            self._connection = connection
        return self._connection
