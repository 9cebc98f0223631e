"""Bringing a database to the newest schema. alembic is imported only here, and only when migrating."""

import re
from pathlib import Path

from sqlalchemy import inspect, text

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.database import unit
from lodeworks_controller.storage.database.engine import sqlite_engine
from lodeworks_controller.storage.database.schema import metadata

FOLDER = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_\w+\.py")


def newest_revision() -> str:
    """Returns the revision that this program wants; empty where there are no migrations yet."""
    found = (_FILE.fullmatch(path.name) for path in (FOLDER / "versions").glob("*.py"))
    return max((match[1] for match in found if match), default="")


def current_revision(path: Path) -> str:
    """Returns the revision of a database; empty for none."""
    engine = sqlite_engine(path)
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return ""
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def migrate(path: Path) -> str:
    """Brings the database to the newest revision, all or nothing, and returns it. Blocks; harmless to repeat."""
    assert unit is not None, "every table registers on import"
    engine = sqlite_engine(path)
    wanted = newest_revision()
    if not wanted:
        metadata.create_all(engine)
        return wanted
    from alembic import command  # noqa: PLC0415 (half a second that only a migration should cost)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            command.upgrade(config, wanted)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
    return wanted


def check_schema(path: Path) -> None:
    """Refuses a database that is older or newer than this program."""
    wanted, found = newest_revision(), current_revision(path)
    if found != wanted:
        what = "an older" if found < wanted else "a newer"
        todo = "run `lode-controller migrate`" if found < wanted else "install the newer lodeworks-platform"
        raise ConflictError("SCHEMA_REVISION", f"the database has {what} schema ({found or 'none'}); {todo}")
