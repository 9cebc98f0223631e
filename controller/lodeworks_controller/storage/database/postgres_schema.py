"""Work on the schema of a PostgreSQL database: synchronous, because alembic is."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from lodeworks_controller.storage.database.postgres_address import postgres_engine
from lodeworks_controller.storage.database.postgres_refusal import refusal
from lodeworks_controller.storage.database.schema import metadata

T = TypeVar("T")

_MIGRATION_KEY = 0x10DE_0002
_LOOSE = text(
    "SELECT table_name, column_name, character_maximum_length FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND data_type IN ('character varying', 'text') AND collation_name IS NULL"
    " ORDER BY table_name, column_name"
)


def on_postgres(url: str, work: Callable[[Connection], T]) -> T:
    """Runs work in one transaction that no other controller's schema work runs beside, and returns its answer."""

    async def run() -> T:
        engine = postgres_engine(url, connections=1)
        try:
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_KEY})")
                return await connection.run_sync(work)
        except (SQLAlchemyError, PostgresError, InterfaceError, OSError) as error:
            if (known := refusal(error)) is not None:
                raise known from error
            raise
        finally:
            await engine.dispose()

    # In a thread of its own: the caller may stand in a running loop.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="schema") as thread:
        return thread.submit(asyncio.run, run()).result()


def order_by_code_point(connection: Connection) -> None:
    """Makes every text compare by code point, as on SQLite, whatever the locale of the database.

    Pages are cut by name, so the order must not depend on a server's locale or change with its libraries.
    """
    for table, column, length in connection.execute(_LOOSE).all():
        if table not in metadata.tables:
            continue  # an operator's, or a view of an extension
        kind = "text" if length is None else f"varchar({length})"
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')
