"""A database that was migrated has exactly the tables that the program knows."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.database.engine import sqlite_engine
from lodeworks_controller.storage.database.migration import check_schema, current_revision, migrate, newest_revision
from lodeworks_controller.storage.database.schema import metadata
from sqlalchemy import inspect
from sqlalchemy.engine import Connection


def test_migrations_make_the_tables_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "lode.db"
    assert migrate(path) == newest_revision()
    check_schema(path)
    with sqlite_engine(path).connect() as connection:
        assert differences(connection) == []
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_migrating_twice_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "lode.db"
    migrate(path)
    assert migrate(path) == current_revision(path)


def test_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "lode.db"
    with sqlite_engine(path).connect() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(ConflictError, match="newer"):
        check_schema(path)
