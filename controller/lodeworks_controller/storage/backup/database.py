"""The database's part of a backup: one consistent moment, while it is written to."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import Connection, text

from lodeworks_controller.errors import ConflictError, LodeworksError, NotFoundError
from lodeworks_controller.storage.database.migration import on_database
from lodeworks_controller.storage.database.postgres_address import driver_arguments

_DIGESTS: Final = "SELECT DISTINCT digest FROM blob_refs ORDER BY digest"
_BATCH: Final = 10_000


def kind_of(address: Path | str) -> str:
    """Returns which database an address names."""
    return "sqlite" if isinstance(address, Path) else "postgresql"


def copy_database(address: Path | str, folder: Path) -> Iterator[str]:
    """Copies the database into a folder, then yields the digests that this very copy refers to. Blocks."""
    folder.mkdir(parents=True, mode=0o700)
    if isinstance(address, Path):
        yield from _copy_sqlite(address, folder / "lode.db")
    else:
        yield from _copy_postgres(address, folder / "lode.dump")


def put_database(folder: Path, address: Path | str) -> None:
    """Brings a copy back to where no database is yet. Blocks.

    Raises ConflictError where there is one.
    """
    if isinstance(address, Path):
        if address.exists():
            raise _there_is_one(str(address))
        temporary = address.with_name(f"{address.name}.restoring")
        shutil.copyfile(folder / "lode.db", temporary)
        temporary.replace(address)
        return
    if on_database(address, _has_tables):
        raise _there_is_one("that address")
    dump = str(folder / "lode.dump")
    with _connection_words(address) as words:
        _run(
            [
                "pg_restore",
                "--no-password",
                "--no-owner",
                "--no-privileges",
                "--single-transaction",
                f"--dbname={words}",
                dump,
            ]
        )


def _copy_sqlite(source: Path, target: Path) -> Iterator[str]:
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source, timeout=30)) as running, closing(sqlite3.connect(target)) as copy:
        # In one step: a reader's view of one moment, which holds up no writer.
        running.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE")
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise ConflictError("DATABASE_DAMAGED", f"the database is damaged: {verdict}")
        cursor = copy.execute(_DIGESTS)
        while rows := cursor.fetchmany(_BATCH):
            yield from (row[0] for row in rows)


def _copy_postgres(url: str, target: Path) -> Iterator[str]:
    def work(connection: Connection) -> list[str]:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        digests = list(connection.execute(text(_DIGESTS)).scalars())
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        with _connection_words(url) as words:
            dump = ["pg_dump", "--format=custom", "--no-password", f"--snapshot={snapshot}", f"--file={target}"]
            _run([*dump, f"--dbname={words}"])
        return digests

    yield from _on_snapshot(url, work)


def _on_snapshot(url: str, work: object) -> list[str]:
    """Runs work in one read-only transaction; pg_dump reads the same moment beside it."""
    import asyncio  # noqa: PLC0415 (who has SQLite needs none of this)
    from collections.abc import Callable  # noqa: PLC0415
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415
    from typing import cast  # noqa: PLC0415

    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    async def run() -> list[str]:
        engine = create_async_engine(
            "postgresql+asyncpg://", connect_args=dict(driver_arguments(url)), poolclass=NullPool
        )
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(cast("Callable[[Connection], list[str]]", work))
        finally:
            await engine.dispose()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="backup") as thread:
        return thread.submit(asyncio.run, run()).result()


def _has_tables(connection: Connection) -> bool:
    count = text("SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()")
    return bool(connection.execute(count).scalar())


def _there_is_one(where: str) -> ConflictError:
    return ConflictError("DATABASE_THERE", f"there is a database at {where} already; a restore overwrites nothing")


@contextmanager
def _connection_words(url: str) -> Iterator[str]:
    """Yields what PostgreSQL's programs take for an address: the password in a file, since arguments can be listed."""
    known = driver_arguments(url)
    words = {"host": "host", "port": "port", "user": "user", "database": "dbname"}
    told = {word: str(known[name]) for name, word in words.items() if known.get(name) is not None}
    told |= {name: value for name, value in parse_qsl(urlsplit(url).query) if name.startswith("ssl")}
    with tempfile.NamedTemporaryFile("w", prefix="lode-pgpass-") as file:  # mode 0600
        if known.get("password") is not None:
            password = str(known["password"]).replace("\\", "\\\\").replace(":", "\\:")
            file.write(f"*:*:*:*:{password}\n")
            file.flush()
            told["passfile"] = file.name
        yield " ".join(f"{name}={_quoted(value)}" for name, value in told.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise NotFoundError(
            "PROGRAM_MISSING", f"{words[0]} is not installed; install the client programs of PostgreSQL"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LodeworksError("DATABASE", f"{words[0]} failed: {last}")
