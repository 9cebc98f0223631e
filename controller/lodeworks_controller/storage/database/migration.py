"""Bringing a database to the newest schema. alembic is imported only here, and only when migrating."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, inspect, text

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.database import unit
from lodeworks_controller.storage.database.schema import metadata
from lodeworks_controller.storage.database.sqlite_session import sqlite_engine

T = TypeVar("T")

FOLDER = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_\w+\.py")


def newest_revision() -> str:
    """Returns the revision that this program wants; empty where there are no migrations yet."""
    found = (_FILE.fullmatch(path.name) for path in (FOLDER / "versions").glob("*.py"))
    return max((match[1] for match in found if match), default="")


def current_revision(address: Path | str) -> str:
    """Returns the revision of a database; empty for none."""

    def work(connection: Connection) -> str:
        if not inspect(connection).has_table("alembic_version"):
            return ""
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""

    return on_database(address, work)


def migrate(address: Path | str) -> str:
    """Brings the database to the newest revision, all or nothing, and returns it. Blocks; harmless to repeat."""
    assert unit is not None, "every table registers on import"
    wanted = newest_revision()
    check_not_newer(address)

    def work(connection: Connection) -> str:
        _upgrade(connection, wanted)
        if connection.dialect.name == "postgresql":
            from lodeworks_controller.storage.database.postgres_schema import order_by_code_point  # noqa: PLC0415

            order_by_code_point(connection)
        return wanted

    return on_database(address, work, begin="BEGIN IMMEDIATE")


def _upgrade(connection: Connection, wanted: str) -> None:
    if not wanted:
        metadata.create_all(connection)
        return
    from alembic import command  # noqa: PLC0415 (half a second that only a migration should cost)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)


def on_database(address: Path | str, work: Callable[[Connection], T], *, begin: str = "BEGIN") -> T:
    """Runs work in one transaction on a database, and returns its answer."""
    if not isinstance(address, Path):
        # Only who has such a database pays for its driver.
        from lodeworks_controller.storage.database.postgres_schema import on_postgres  # noqa: PLC0415

        return on_postgres(address, work)
    engine = sqlite_engine(address)
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        try:
            answer = work(connection)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        return answer


def check_not_newer(address: Path | str) -> None:
    """Refuses a database that a newer program has made or migrated."""
    wanted, found = newest_revision(), current_revision(address)
    if wanted and found > wanted:
        raise ConflictError(
            "SCHEMA_REVISION",
            f"the database has a newer schema ({found}) than this program knows ({wanted}); install the newer "
            "lodeworks-platform, or go back to the copy that `lode-controller upgrade` made before",
        )


def check_schema(address: Path | str) -> None:
    """Refuses a database that is older or newer than this program."""
    check_not_newer(address)
    wanted, found = newest_revision(), current_revision(address)
    if found != wanted:
        raise ConflictError(
            "SCHEMA_REVISION",
            f"the database has an older schema ({found or 'none'}); run `lode-controller upgrade`, which copies the "
            "database first",
        )
