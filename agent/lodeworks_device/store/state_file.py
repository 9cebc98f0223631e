"""How the algorithms stand, in one SQLite file that survives power cuts, with a last good copy and a second record.

The second record is one link per committed algorithm, `committed/<name>@<number>` → its package, and the file
`generation`. They are written after the database, and read only when the database and its copy are both beyond use.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from lodeworks_device.files import sync_folder, write_whole
from lodeworks_device.states import AlgorithmState, Goal, Phase, Version, Wanted
from lodeworks_device.store.blobs import KillPoint, Reach, go_on
from lodeworks_device.store.plain import state_from_json, state_to_json

_BALLAST_BYTES = 1 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS algorithms (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was read: the algorithms by name, the highest generation seen, and small notes."""

    algorithms: Mapping[str, AlgorithmState] = field(default_factory=dict)
    generation: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)


class StateFile:
    """The database `state.db` in a folder. Blocks; one thread at a time."""

    def __init__(self, folder: Path, *, packages: Path, reach: Reach = go_on) -> None:
        self._folder = folder
        self._packages = packages
        self._reach = reach
        self._path = folder / "state.db"
        self._good = folder / "state.good.db"
        self._links = folder / "committed"
        self._ballast = folder / "ballast"
        self._connection: sqlite3.Connection | None = None
        self._linked: dict[str, Version] = {}

    def open(self, *, at: datetime) -> Stored:
        """Reads what is there; a damaged database is set aside, then its last good copy or the links speak."""
        self._links.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection, stored = self._sound(self._path)
        if self._connection is None and self._good.exists():
            self._set_aside()
            self._good.replace(self._path)
            self._connection, stored = self._sound(self._path)
        if self._connection is None:
            self._set_aside()
            self._connection = _connect(self._path)
            stored = self._from_links(at=at)
            self.save(stored.algorithms.values(), generation=stored.generation)
        self._inflate()
        self._linked = {name: state.committed for name, state in stored.algorithms.items() if state.committed}
        self._link(stored.algorithms.values())
        return stored

    def save(
        self,
        states: Iterable[AlgorithmState] = (),
        *,
        removed: Iterable[str] = (),
        generation: int | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Stores all of it or nothing; it is on disk when this returns."""
        kept, gone = list(states), list(removed)
        told = dict(notes or {})
        if generation is not None:
            told["generation"] = str(generation)
        try:
            self._write(kept, gone, told)
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            # The state must be saved even now: what else is written will find the disk full and say so.
            self._ballast.unlink(missing_ok=True)
            self._write(kept, gone, told)
        self._reach(KillPoint.STORED)
        with contextlib.suppress(OSError, sqlite3.Error):
            self._copy()
            self._reach(KillPoint.COPIED)
        if generation is not None:
            write_whole(self._folder / "generation", str(generation).encode())
        self._link(kept)
        self._unlink(gone)

    def close(self) -> None:
        """Closes the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, states: list[AlgorithmState], removed: list[str], notes: Mapping[str, str]) -> None:
        assert self._connection is not None
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(state.name, state_to_json(state)) for state in states]
            connection.executemany("INSERT OR REPLACE INTO algorithms VALUES (?, ?)", rows)
            connection.executemany("DELETE FROM algorithms WHERE name = ?", [(name,) for name in removed])
            connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", list(notes.items()))

    def _sound(self, path: Path) -> tuple[sqlite3.Connection | None, Stored]:
        if not path.exists() or path.stat().st_size == 0:
            return None, Stored()
        connection = None
        try:
            connection = _connect(path)
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("the integrity check fails")
            return connection, _read(connection)
        except (sqlite3.Error, ValueError, KeyError, TypeError):
            if connection is not None:
                connection.close()
            return None, Stored()

    def _set_aside(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + suffix)
            if path.exists():
                path.replace(path.with_name(f"bad-{path.name}"))

    def _copy(self) -> None:
        assert self._connection is not None
        fresh = self._good.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._connection.execute("VACUUM INTO ?", (str(fresh),))
        fresh.replace(self._good)

    def _inflate(self) -> None:
        if not self._ballast.exists():
            with contextlib.suppress(OSError):
                self._ballast.write_bytes(bytes(_BALLAST_BYTES))

    def _link(self, states: Iterable[AlgorithmState]) -> None:
        for state in states:
            version = state.committed
            path = self._link_path(state, version) if version else self._links
            if version is None or (
                self._linked.get(state.name) == version and self._link_path(state, version).exists()
            ):
                continue
            fresh = path.with_name(f".{path.name}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(os.path.relpath(self._packages / version.package_id, self._links))
            fresh.replace(path)
            self._reach(KillPoint.COMMITTED_LINKED)
            for other in self._links_of(state.name):
                if other != path:
                    other.unlink(missing_ok=True)
            sync_folder(self._links)
            self._linked[state.name] = version

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            self._linked.pop(name, None)
            for path in self._links_of(name):
                path.unlink(missing_ok=True)

    def _link_path(self, state: AlgorithmState, version: Version) -> Path:
        return self._links / f"{quote(state.name, safe='')}@{version.release.rpartition('@')[2]}"

    def _links_of(self, name: str) -> list[Path]:
        return [path for path in self._links.iterdir() if path.name.rpartition("@")[0] == quote(name, safe="")]

    def _from_links(self, *, at: datetime) -> Stored:
        """Returns what the second record says. The newest link counts where a kill left two."""
        try:
            generation = int((self._folder / "generation").read_text(encoding="ascii"))
        except (OSError, ValueError):
            generation = 0
        links = [path for path in self._links.iterdir() if not path.name.startswith(".") and path.is_dir()]
        found: dict[str, AlgorithmState] = {}
        for path in sorted(links, key=lambda each: each.lstat().st_mtime_ns):
            name, _, number = path.name.rpartition("@")
            name = unquote(name)
            version = Version(path.resolve().name, f"{name}@{number}")
            wanted = Wanted(name, version, Goal.RUNNING, generation)
            found[name] = AlgorithmState(name, wanted, Phase.COMMITTED, at, committed=version, committed_at=at)
        return Stored(found, generation)


def look(folder: Path) -> Stored:
    """Returns what stands in the database of a state folder; nothing is changed, an agent may be at work."""
    path = folder / "state.db"
    if not path.exists():
        return Stored()
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return _read(connection)


def _read(connection: sqlite3.Connection) -> Stored:
    notes = dict(connection.execute("SELECT key, value FROM notes").fetchall())
    bodies = connection.execute("SELECT name, body FROM algorithms").fetchall()
    algorithms = {name: state_from_json(body) for name, body in bodies}
    return Stored(algorithms, int(notes.get("generation", 0)), notes)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    return connection
